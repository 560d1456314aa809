"""TokenStore: token ids on disk, written once by build_store, memory-mapped afterwards."""

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
from tqdm import tqdm

from tflm.errors import UserError

EncodeFn = Callable[[dict[str, tf.Tensor]], Mapping[str, tf.Tensor | tf.RaggedTensor]]
_CHUNK = 1000  # examples encoded in one call
_INDEX = "store.json"


class TokenStore:
    """A folder of encoded examples. Each feature is one flat array and, where rows differ in length, offsets.

    Row i of a ragged feature is `values(name)[offsets[i]:offsets[i + 1]]`, with `offsets = offsets(name)`;
    of a dense one, `values(name)[i]`. For two rows of token ids, 1 5 2 and 1 2:

        token_ids.values.npy   [1, 5, 2, 1, 2]   int32
        token_ids.offsets.npy  [0, 3, 5]         int64
        store.json             fingerprint, number of rows, features
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens a finished store.

        Raises:
            UserError: there is none in `folder`, or its files do not fit together.
        """
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / _INDEX).read_text(encoding="utf-8"))
            self.fingerprint: str = index["fingerprint"]
            self.num_rows: int = index["num_rows"]
            self.features: tuple[str, ...] = tuple(index["features"])
            self.ragged: frozenset[str] = frozenset(index["ragged"])
            """Those of `features` whose rows differ in length."""
            whole = all(self._fits(name) for name in self.features)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"no token store in {str(self.folder)!r} ({error}); build it again") from error
        if not whole:
            raise UserError(
                f"the token store in {str(self.folder)!r} is damaged; delete the folder, build it again"
            )

    def _fits(self, name: str) -> bool:
        if name not in self.ragged:
            return len(self.values(name)) == self.num_rows
        offsets = self.offsets(name)
        return len(offsets) == self.num_rows + 1 and int(offsets[-1]) == len(self.values(name))

    def values(self, name: str) -> np.ndarray:
        """The flat int32 array of a feature, memory-mapped (copy on write: the file is never changed)."""
        return self._load(name, "values")

    def offsets(self, name: str) -> np.ndarray:
        """int64 [num_rows + 1]: where each row of a ragged feature begins in `values`, and the end."""
        return self._load(name, "offsets")

    def lengths(self, name: str) -> np.ndarray:
        """int64 [num_rows]: the number of values in each row of a ragged feature."""
        return np.diff(self.offsets(name))

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """The memory-mapped array as a CPU tensor that shares its pages: nothing is read or copied here.

        So a store may be larger than memory. tf.data functions capture it; it is never part of a graph.
        """
        array = self._load(name, part)
        if array.ctypes.data % 64:  # TensorFlow wants this alignment; NumPy's files have it, unless empty
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
) -> TokenStore:
    """Encodes all examples into `folder`, or opens what is there if its fingerprint is the same.

    The store is written beside the folder and renamed when it is whole, so that a process that dies leaves
    no half of a store.

    Args:
        examples: dicts of strings, all with the same keys; read only if there is something to build.
        encode_fn: dict of string [B] -> dict of RaggedTensor int32 [B, (T)] or int32 [B]. B varies.
        folder: where the store lies; its parents are made.
        fingerprint: stands for everything that the result depends on: the data, the tokenizer, encode_fn.

    Raises:
        UserError: no example gave a token, or `folder` holds something that is no token store.
    """
    folder = Path(os.path.abspath(folder))
    if (folder / _INDEX).exists():
        try:
            store = TokenStore(folder)
            if store.fingerprint == fingerprint:
                return store
        except UserError:  # a damaged store is built again
            pass
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} holds files that are no token store; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=folder.name + ".building-", dir=folder.parent))
    try:
        _write_store(examples, encode_fn, aside, fingerprint)
        if folder.exists():
            shutil.rmtree(folder)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return TokenStore(folder)


def _write_store(
    examples: Iterable[dict[str, str]], encode_fn: EncodeFn, folder: Path, fingerprint: str
) -> None:
    writers: dict[str, _Feature] = {}
    num_rows = 0
    stream = iter(examples)
    with tqdm(desc="encoding", unit=" examples", delay=2) as bar:
        while chunk := list(itertools.islice(stream, _CHUNK)):
            encoded = encode_fn({key: tf.constant([example[key] for example in chunk]) for key in chunk[0]})
            for name, value in encoded.items():
                if name not in writers:
                    writers[name] = _Feature(folder, name, isinstance(value, tf.RaggedTensor))
                writers[name].append(value)
            num_rows += len(chunk)
            bar.update(len(chunk))
    ragged = [name for name, writer in writers.items() if writer.ragged]
    num_tokens = sum(writers[name].num_values for name in ragged)
    for writer in writers.values():
        writer.close()
    if not num_tokens:
        raise UserError(
            f"nothing to store: {num_rows} examples gave no token at all; check the data and the columns"
        )
    index = {"fingerprint": fingerprint, "num_rows": num_rows, "features": list(writers), "ragged": ragged}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


class _Feature:
    """Appends one feature's values, and the offsets of its rows, to .npy files."""

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
    """A one-dimensional .npy file that grows. NumPy's header has room for the length, set at the end."""

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
