"""The arrays of a token store: written in order to one .npy file or several, memory-mapped, gathered from."""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

SHARD_BYTES = 1 << 30
"""Size of the values in one file; an array of more has several files."""


class Values:
    """A flat array in several parts, which tf.data functions gather from without a copy of the whole.

    Args:
        parts: arrays [N_i] of one dtype, in order; empty ones are left out.
    """

    def __init__(self, parts: Sequence[tf.Tensor]) -> None:
        sizes = [int(part.shape[0]) for part in parts]
        self._parts = [part for part, size in zip(parts, sizes) if size] or [parts[0]]
        self._starts = [0, *itertools.accumulate(size for size in sizes if size)]
        self.size = sum(sizes)
        """Number of values."""

    def gather(self, places: tf.Tensor) -> tf.Tensor:
        """`tf.gather(whole, places)`.

        >>> Values([[5, 6], [7, 8, 9]]).gather([[0, 2], [4, 1]])
        [[5, 7], [9, 6]]

        Args:
            places: int64, any shape, each below `size`.
        """
        if len(self._parts) == 1:
            return tf.gather(self._parts[0], places)
        flat, count = tf.reshape(places, [-1]), len(self._parts)
        number = tf.searchsorted(tf.constant(self._starts[1:], tf.int64), flat, side="right")
        inside = tf.dynamic_partition(flat, number, count)
        order = tf.dynamic_partition(tf.range(tf.size(flat)), number, count)
        values = [tf.gather(part, own - start) for part, own, start in zip(self._parts, inside, self._starts)]
        return tf.reshape(tf.dynamic_stitch(order, values), tf.shape(places))


def shard_files(folder: Path, array: str, count: int) -> list[Path]:
    """The files of an array.

    >>> shard_files(Path("store"), "token_ids.values", 2)
    [Path("store/token_ids.values.npy"), Path("store/token_ids.values.00001.npy")]
    """
    return [
        folder / (f"{array}.{number:05d}.npy" if number else f"{array}.npy")
        for number in range(max(1, count))
    ]


def map_shards(files: Sequence[Path]) -> list[np.ndarray]:
    """The files of an array, memory-mapped copy-on-write."""
    return [np.load(file, mmap_mode="c") for file in files]


def tensor_of(array: np.ndarray) -> tf.Tensor:
    """A CPU tensor that shares the memory of a memory-mapped array; a copy of another array."""
    if array.ctypes.data % 64:  # the alignment that TensorFlow requires; .npy files have it unless empty
        with tf.device("CPU:0"):
            return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def sha256_of(array: np.ndarray) -> str:
    """Of the values, without the header of their file."""
    digest = hashlib.sha256()
    for start in range(0, len(array), 1 << 22):
        digest.update(np.ascontiguousarray(array[start : start + (1 << 22)]).data)
    return digest.hexdigest()


class FeatureWriter:
    """Appends the values and row offsets of one feature to .npy files.

    Args:
        folder: of the store.
        name: of the feature.
        ragged: whether rows differ in length.
        shard_bytes: see `SHARD_BYTES`.
    """

    def __init__(self, folder: Path, name: str, ragged: bool, shard_bytes: int = SHARD_BYTES) -> None:
        self.ragged = ragged
        self.num_values = 0
        self.arrays = {f"{name}.values": _ArrayWriter(folder, f"{name}.values", np.int32, shard_bytes)}
        if ragged:
            self.arrays[f"{name}.offsets"] = _ArrayWriter(folder, f"{name}.offsets", np.int64, shard_bytes)
            self.arrays[f"{name}.offsets"].append(np.zeros(1, np.int64))
        self._name = name

    def append(self, values: np.ndarray, row_splits: np.ndarray | None) -> None:
        """Adds rows.

        Args:
            values: int [M], flat.
            row_splits: int [rows + 1]; None of a dense feature.
        """
        if row_splits is not None:
            self.arrays[f"{self._name}.offsets"].append(self.num_values + row_splits[1:].astype(np.int64))
        self.arrays[f"{self._name}.values"].append(values)
        self.num_values += len(values)

    def close(self) -> dict[str, list[dict[str, Any]]]:
        """The number of values and their SHA-256 in each file of each array."""
        return {array: writer.close() for array, writer in self.arrays.items()}


class _ArrayWriter:
    """A one-dimensional array in files of at most `shard_bytes` of values."""

    def __init__(self, folder: Path, array: str, dtype: type, shard_bytes: int) -> None:
        self._folder, self._array, self._dtype = folder, array, np.dtype(dtype)
        self._most = max(1, shard_bytes // self._dtype.itemsize)
        self._done: list[dict[str, Any]] = []
        self._file = self._open()

    def _open(self) -> "_NpyWriter":
        return _NpyWriter(shard_files(self._folder, self._array, len(self._done) + 1)[-1], self._dtype)

    def append(self, values: np.ndarray) -> None:
        while len(values):
            if self._file.length == self._most:
                self._done.append(self._file.close())
                self._file = self._open()
            room = self._most - self._file.length
            self._file.append(values[:room])
            values = values[room:]

    def close(self) -> list[dict[str, Any]]:
        return [*self._done, self._file.close()]


class _NpyWriter:
    """An appendable one-dimensional .npy file. The header has room for the length, which `close` sets."""

    def __init__(self, file: Path, dtype: np.dtype) -> None:
        self._dtype = dtype
        self.length = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = open(file, "wb")  # noqa: SIM115 (closed by close)
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        content = np.ascontiguousarray(values, self._dtype).data
        self._file.write(content)
        self._digest.update(content)
        self.length += len(values)

    def close(self) -> dict[str, Any]:
        self._file.seek(0)
        self._write_header()
        self._file.close()
        return {"size": self.length, "sha256": self._digest.hexdigest()}

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
