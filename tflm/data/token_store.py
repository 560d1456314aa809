"""TokenStore: encoded examples on disk, written once by build_store, then memory-mapped."""

import contextlib
import glob
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.files.locks import wait_for
from tflm.files.writing import writing
from tflm.progress import ProgressBar

EncodeFn = Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor | tf.RaggedTensor]]
_CHUNK = 1000  # examples per call of the encode_fn
_INDEX = "store.json"
_ID_FEATURES = ("token_ids", "source_ids")


class TokenStore:
    """A folder of encoded examples. Each feature is a flat array, with offsets if it is ragged.

    Row i of a ragged feature is `values(name)[offsets[i]:offsets[i + 1]]`, with `offsets = offsets(name)`; of a dense
    feature `values(name)[i]`. For two rows of token ids, 1 5 2 and 1 2:

        token_ids.values.npy   [1, 5, 2, 1, 2]   int32
        token_ids.offsets.npy  [0, 3, 5]         int64
        store.json             fingerprint, pad id, number of rows, features
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens a store.

        Raises:
            UserError: `folder` has no store, or the store is damaged.
        """
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
            self.fingerprint: str = index["fingerprint"]
            self.num_rows: int = index["num_rows"]
            self.pad_id: int = index.get("pad_id", 0)
            self.features: tuple[str, ...] = tuple(index["features"])
            self.ragged: frozenset[str] = frozenset(index["ragged"])
            """Names of the ragged features."""
            whole = all(self._fits(name) for name in self.features)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"no token store in {str(self.folder)!r} ({error}); rebuild it") from error
        if not whole:
            raise UserError(
                f"the token store in {str(self.folder)!r} is damaged; delete the folder and rebuild it"
            )

    def _fits(self, name: str) -> bool:
        if name not in self.ragged:
            return len(self.values(name)) == self.num_rows
        offsets = self.offsets(name)
        return len(offsets) == self.num_rows + 1 and int(offsets[-1]) == len(self.values(name))

    def values(self, name: str) -> np.ndarray:
        """The flat int32 array of a feature, memory-mapped copy-on-write."""
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

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """The memory-mapped array as a CPU tensor without a copy, so a store may be larger than memory.

        `tf.data` functions capture the tensor; it is not embedded in a graph.

        Raises:
            UserError: the store has no such feature.
        """
        array = self._load(name, part)
        if array.ctypes.data % 64:  # the alignment that TensorFlow requires; .npy files have it unless empty
            array = array.copy()
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

    def _load(self, name: str, part: str) -> np.ndarray:
        file = self.folder / f"{name}.{part}.npy"
        if name not in self.features or not file.exists():
            raise UserError(
                f"the token store in {str(self.folder)!r} has no {part} of {name!r}; "
                f"its features are {', '.join(self.features)}"
            )
        return np.load(file, mmap_mode="c")


def build_store(
    examples: Iterable[dict[str, str]],
    encode_fn: EncodeFn,
    folder: str | os.PathLike[str],
    fingerprint: str,
    pad_id: int = 0,
) -> TokenStore:
    """Encodes all examples into a store in `folder`, or opens the existing store if its fingerprint matches.

    The store is written to a temporary folder and renamed when complete. If several processes build the same store, one
    builds it and the others wait.

    Args:
        examples: dicts of strings with equal keys; read only if the store is built.
        encode_fn: maps a dict of string [B] to a dict of RaggedTensor int32 [B, (T)] or int32 [B]. B varies.
        folder: folder of the store; parents are created.
        fingerprint: identifies the data, the tokenizer and the encode_fn.
        pad_id: the tokenizer's, which fills batches up.

    Raises:
        UserError: no example has a token, `folder` contains other files, or the store cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    found = _finished_store(folder, fingerprint)
    if found is not None:
        return found
    # Other files in the folder are looked for under the lock: another process may rename its store to it at any moment.
    with writing(_name(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(f"{folder}.lock", _name(folder)):
        found = _finished_store(folder, fingerprint)  # another process may have built it
        if found is None:
            _check_folder(folder)
            _build(examples, encode_fn, folder, {"fingerprint": fingerprint, "pad_id": pad_id})
    return TokenStore(folder)


def _finished_store(folder: Path, fingerprint: str) -> TokenStore | None:
    """The store in `folder` if it is complete and has this fingerprint."""
    if (folder / _INDEX).exists():
        with contextlib.suppress(UserError):  # a damaged store is rebuilt
            store = TokenStore(folder)
            return store if store.fingerprint == fingerprint else None
    return None


def _check_folder(folder: Path) -> None:
    """Raises UserError if the folder contains files that are not a token store."""
    if not (folder / _INDEX).exists() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} contains files that are not a token store; give another folder")


def _build(
    examples: Iterable[dict[str, str]], encode_fn: EncodeFn, folder: Path, known: dict[str, Any]
) -> None:
    for leftover in folder.parent.glob(f"{glob.escape(folder.name)}.building-*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    with writing(_name(folder)):
        aside = Path(tempfile.mkdtemp(prefix=folder.name + ".building-", dir=folder.parent))
    try:
        _write_store(examples, encode_fn, aside, known, _name(folder))
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
) -> None:
    writers: dict[str, _Feature] = {}
    num_rows = 0
    stream = iter(examples)
    with ProgressBar("encoding", "examples") as bar:
        while chunk := list(itertools.islice(stream, _CHUNK)):
            encoded = encode_fn({key: tf.constant([example[key] for example in chunk]) for key in chunk[0]})
            with writing(store_name):  # reading the examples is outside: its errors are not write errors
                for name, value in encoded.items():
                    if name not in writers:
                        writers[name] = _Feature(folder, name, isinstance(value, tf.RaggedTensor))
                    writers[name].append(value)
            num_rows += len(chunk)
            bar.advance(len(chunk))
    ragged = [name for name, writer in writers.items() if writer.ragged]
    num_tokens = sum(writers[name].num_values for name in ragged)
    with writing(store_name):
        for writer in writers.values():
            writer.close()
    if not num_tokens:
        raise UserError(
            f"nothing to store: {num_rows} examples have no tokens; check the data and the columns"
        )
    index = {**known, "num_rows": num_rows, "features": list(writers), "ragged": ragged}
    with writing(store_name):
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


class _Feature:
    """Appends the values and row offsets of one feature to .npy files."""

    def __init__(self, folder: Path, name: str, ragged: bool) -> None:
        self.ragged = ragged
        self.num_values = 0
        self._values = _NpyWriter(folder / f"{name}.values.npy", np.int32)
        self._offsets = _NpyWriter(folder / f"{name}.offsets.npy", np.int64) if ragged else None
        if self._offsets:
            self._offsets.append(np.zeros(1, np.int64))

    def append(self, value: Any) -> None:
        flat = value.flat_values if self.ragged else value
        if self._offsets:
            self._offsets.append(self.num_values + np.asarray(value.row_splits[1:], np.int64))
        self._values.append(np.asarray(flat))
        self.num_values += int(flat.shape[0])

    def close(self) -> None:
        self._values.close()
        if self._offsets:
            self._offsets.close()


class _NpyWriter:
    """An appendable one-dimensional .npy file. The header has room for the length, which `close` sets."""

    def __init__(self, file: Path, dtype: type) -> None:
        self._dtype = np.dtype(dtype)
        self._length = 0
        self._file: BinaryIO = open(file, "wb")  # noqa: SIM115 (closed by close)
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
