"""TokenStore: encoded examples on disk, written once by build_store, then memory-mapped."""

import contextlib
import dataclasses
import glob
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data.encode_processes import Encoded, EncodeFn, encode_chunk, encoded_by_processes
from tflm.data.store_arrays import (
    SHARD_BYTES,
    FeatureWriter,
    Values,
    map_shards,
    sha256_of,
    shard_files,
    tensor_of,
)
from tflm.errors import UserError
from tflm.files.locks import wait_for
from tflm.files.writing import writing
from tflm.progress import ProgressBar

_CHUNK = 1000  # examples per call of the encode_fn
_INDEX = "store.json"
_ID_FEATURES = ("token_ids", "source_ids")


@dataclasses.dataclass(frozen=True)
class StoreMixture:
    """The sources of a joined store; see `JoinedStore`."""

    names: tuple[str, ...]
    """Of P sources."""
    weights: tuple[float, ...]
    """The share of each in training; they sum to 1."""
    row_starts: np.ndarray
    """Row where each begins, and the number of rows, int64 [P + 1]."""
    value_starts: Mapping[str, np.ndarray]
    """Likewise in the values of each ragged feature."""


class TokenStore:
    """A folder of encoded examples. Each feature is a flat array, with offsets if it is ragged.

    Row i of a ragged feature is `values(name)[offsets[i]:offsets[i + 1]]`, with `offsets = offsets(name)`; of a dense
    feature `values(name)[i]`. For two rows of token ids, 1 5 2 and 1 2:

        token_ids.values.npy   [1, 5, 2, 1, 2]   int32
        token_ids.offsets.npy  [0, 3, 5]         int64
        store.json             fingerprint, pad id, number of rows, features, size and SHA-256 of each file

    An array above `SHARD_BYTES` has several files: `token_ids.values.npy`, `token_ids.values.00001.npy`, ...
    """

    mixture: StoreMixture | None = None
    """Of a joined store: its sources."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens a store.

        Raises:
            UserError: `folder` has no store, or the store is damaged.
        """
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
            self.fingerprint: str = index["fingerprint"]
            self.cache_key: str = index.get("cache_key", "")
            """Name of the store in the cache that this one was taken from, or put into; see `store_cache`."""
            self.num_rows: int = index["num_rows"]
            self.pad_id: int = index.get("pad_id", 0)
            self.masked: dict[str, int] = index.get("masked", {})
            """Number of spans of personal data that were masked, by kind."""
            self.features: tuple[str, ...] = tuple(index["features"])
            self.ragged: frozenset[str] = frozenset(index["ragged"])
            """Names of the ragged features."""
            self._files: dict[str, list[dict[str, Any]]] = index.get("files", {})
            whole = all(self._fits(name) for name in self.features)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"no token store in {str(self.folder)!r} ({error}); rebuild it") from error
        if not whole:
            raise UserError(
                f"the token store in {str(self.folder)!r} is damaged; delete the folder and rebuild it"
            )

    def _fits(self, name: str) -> bool:
        num_values = sum(map(len, self._shards(name, "values")))
        if name not in self.ragged:
            return num_values == self.num_rows
        offsets = self._shards(name, "offsets")
        return sum(map(len, offsets)) == self.num_rows + 1 and int(offsets[-1][-1]) == num_values

    def is_intact(self) -> bool:
        """Whether every file has the values that were written, by SHA-256; True for stores of earlier versions, which
        have no checksums. Reads the whole store."""
        return all(
            [record["sha256"] for record in records] == [sha256_of(shard) for shard in map_shards(files)]
            for records, files in self.arrays().values()
        )

    def arrays(self) -> dict[str, tuple[list[dict[str, Any]], list[Path]]]:
        """Each array, such as "token_ids.values", with what is known of its files, and with the files."""
        return {
            array: (records, shard_files(self.folder, array, len(records)))
            for array, records in self._files.items()
        }

    def values(self, name: str) -> np.ndarray:
        """The flat int32 array of a feature, memory-mapped copy-on-write; a copy in memory if it has several files."""
        return self._load(name, "values")

    def offsets(self, name: str) -> np.ndarray:
        """Row boundaries of a ragged feature in `values`, int64 [num_rows + 1]."""
        return self._load(name, "offsets")

    def lengths(self, name: str) -> np.ndarray:
        """Row lengths of a ragged feature, int64 [num_rows]."""
        return np.diff(self.offsets(name))

    def padding(self, name: str) -> int:
        """What fills the rows of a ragged feature up: the pad id in token and source ids, 0 in all others."""
        return self.pad_id if name in _ID_FEATURES else 0

    def flat(self, name: str) -> Values:
        """The memory-mapped values of a feature to gather from, without a copy, so a store may be larger than memory.

        `tf.data` functions capture the tensors; they are not embedded in a graph.

        Raises:
            UserError: the store has no such feature.
        """
        return Values([tensor_of(shard) for shard in self._shards(name, "values")])

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """An array as a CPU tensor; memory-mapped, without a copy, if it has one file.

        Raises:
            UserError: the store has no such feature.
        """
        return tensor_of(self._load(name, part))

    def _load(self, name: str, part: str) -> np.ndarray:
        shards = self._shards(name, part)
        return shards[0] if len(shards) == 1 else np.concatenate(shards)

    def _shards(self, name: str, part: str) -> list[np.ndarray]:
        array = f"{name}.{part}"
        files = shard_files(self.folder, array, len(self._files.get(array, ())))
        if name not in self.features or not files[0].exists():
            raise self.missing(name, part)
        return map_shards(files)

    def missing(self, name: str, part: str) -> UserError:
        """The error that there is no such array."""
        return UserError(
            f"the token store in {str(self.folder)!r} has no {part} of {name!r}; "
            f"its features are {', '.join(self.features)}"
        )


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """How a store is built; what it holds does not depend on it."""

    cache_folder: str = ""
    """Folder of stores that runs share; "" for none."""
    cache_key: str = ""
    """Name of the store there: a hash of everything that it depends on; "" to keep it out of the cache."""
    num_workers: int = 1
    """Processes that encode; 0 for one, and after a while one for each CPU."""
    make_encode_fn: Callable[[], EncodeFn] | None = None
    """Makes the encode_fn in another process; picklable. Without it, one process encodes."""
    shard_bytes: int = SHARD_BYTES
    """Maximum size of the values in one file."""
    masked_fn: Callable[[], Mapping[str, int]] | None = None
    """Gives, after all examples are read, the number of masked spans by kind, for the index of the store."""


def build_store(
    examples: Iterable[dict[str, str]],
    encode_fn: EncodeFn,
    folder: str | os.PathLike[str],
    fingerprint: str,
    pad_id: int = 0,
    options: BuildOptions | None = None,
) -> TokenStore:
    """Encodes all examples into a store in `folder`, or opens the existing store if its fingerprint matches.

    The store is written to a temporary folder and renamed when complete. If several processes build the same store, one
    builds it and the others wait. With a cache, the store is built there, and its files are linked into `folder`
    (copied, if that is on another file system), so that neither folder needs the other.

    Args:
        examples: dicts of strings with equal keys; read only if the store is built.
        encode_fn: maps a dict of string [B] to a dict of RaggedTensor int32 [B, (T)] or int32 [B]. B varies.
        folder: folder of the store; parents are created.
        fingerprint: identifies the data, the tokenizer and the encode_fn.
        pad_id: the tokenizer's, which fills batches up.
        options: cache, processes, size of files.

    Raises:
        UserError: no example has a token, `folder` contains other files, or the store cannot be written.
    """
    options = options or BuildOptions()
    folder = Path(os.path.abspath(folder))
    found = finished_store(folder, fingerprint)
    if found is not None:
        return found
    # Other files in the folder are looked for under the lock: another process may rename its store to it at any moment.
    with writing(_name(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(f"{folder}.lock", _name(folder)):
        found = finished_store(folder, fingerprint)  # another process may have built it
        if found is None:
            _check_folder(folder)
            if options.cache_folder and options.cache_key:
                _build_in_cache(examples, encode_fn, folder, fingerprint, pad_id, options)
            else:
                known = {"fingerprint": fingerprint, "pad_id": pad_id}
                with _replacing(folder) as aside:
                    _write_store(examples, encode_fn, aside, known, _name(folder), options)
    return TokenStore(folder)


def finished_store(folder: str | os.PathLike[str], fingerprint: str) -> TokenStore | None:
    """The store in `folder` if it is complete and has this fingerprint."""
    if (Path(folder) / _INDEX).exists():
        with contextlib.suppress(UserError):  # a damaged store is rebuilt
            store = TokenStore(folder)
            return store if store.fingerprint == fingerprint else None
    return None


def _check_folder(folder: Path) -> None:
    """Raises UserError if the folder contains files that are not a token store."""
    if not (folder / _INDEX).exists() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} contains files that are not a token store; give another folder")


def _build_in_cache(
    examples: Iterable[dict[str, str]],
    encode_fn: EncodeFn,
    folder: Path,
    fingerprint: str,
    pad_id: int,
    options: BuildOptions,
) -> None:
    """The store of the cache, built if it is not there or damaged, linked into `folder`."""
    cached = Path(os.path.abspath(options.cache_folder)) / options.cache_key
    with wait_for(f"{cached}.lock", _name(cached)):
        found = finished_store(cached, options.cache_key)
        if found is not None and not found.is_intact():
            logging.warning("%s is damaged and is built again.", _name(cached))
            found = None
        if found is None:
            shutil.rmtree(cached, ignore_errors=True)
            own = dataclasses.replace(options, cache_key="")
            found = build_store(examples, encode_fn, cached, options.cache_key, pad_id, own)
        else:
            with contextlib.suppress(OSError):
                os.utime(cached)  # the time of the last use
        with _replacing(folder) as aside, writing(_name(folder)):
            for _, files in found.arrays().values():
                for file in files:
                    _link(file, aside / file.name)
            index = json.loads((cached / _INDEX).read_text(encoding="utf-8"))
            _write_index(aside, {**index, "fingerprint": fingerprint, "cache_key": options.cache_key})


def _link(file: Path, to: Path) -> None:
    """A hard link, or a copy where there can be none: on another file system, say."""
    try:
        os.link(file, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, to)


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `folder` at the end, or is removed on an error."""
    for leftover in folder.parent.glob(f"{glob.escape(folder.name)}.building-*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    aside = folder.parent / f"{folder.name}.building-{secrets.token_hex(4)}"
    with writing(_name(folder)):
        aside.mkdir()  # `tempfile.mkdtemp` would hide it from other users of a cache
    try:
        yield aside
        with writing(_name(folder)):
            if folder.exists():
                shutil.rmtree(folder)
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _name(folder: Path) -> str:
    return f"the token store {str(folder)!r}"


def _write_store(
    examples: Iterable[dict[str, str]],
    encode_fn: EncodeFn,
    folder: Path,
    known: dict[str, Any],
    store_name: str,
    options: BuildOptions,
) -> None:
    writers: dict[str, FeatureWriter] = {}
    num_rows = 0
    with ProgressBar("encoding", "examples") as bar:
        for num_examples, encoded in _encoded(examples, encode_fn, options):
            with writing(store_name):  # reading the examples is outside: its errors are not write errors
                for name, (values, row_splits) in encoded.items():
                    if name not in writers:
                        is_ragged = row_splits is not None
                        writers[name] = FeatureWriter(folder, name, is_ragged, options.shard_bytes)
                    writers[name].append(values, row_splits)
            num_rows += num_examples
            bar.advance(num_examples)
    ragged = [name for name, writer in writers.items() if writer.ragged]
    num_tokens = sum(writers[name].num_values for name in ragged)
    files: dict[str, list[dict[str, Any]]] = {}
    with writing(store_name):
        for writer in writers.values():
            files |= writer.close()
    if not num_tokens:
        raise UserError(
            f"nothing to store: {num_rows} examples have no tokens; check the data and the columns"
        )
    with writing(store_name):
        _write_index(
            folder,
            {
                **known,
                **({"masked": dict(options.masked_fn())} if options.masked_fn else {}),
                "num_rows": num_rows,
                "features": list(writers),
                "ragged": ragged,
                "files": files,
            },
        )


def _write_index(folder: Path, index: Mapping[str, Any]) -> None:
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _encoded(
    examples: Iterable[dict[str, str]], encode_fn: EncodeFn, options: BuildOptions
) -> Iterator[tuple[int, Encoded]]:
    """The number of examples of each chunk, and its features; in order, whoever encodes them."""
    stream = iter(examples)
    chunks = iter(lambda: list(itertools.islice(stream, _CHUNK)), [])
    if options.make_encode_fn is not None and options.num_workers != 1:
        return encoded_by_processes(chunks, encode_fn, options.make_encode_fn, options.num_workers)
    return ((len(chunk), encode_chunk(encode_fn, chunk)) for chunk in chunks)
