"""GGUF files, the format of llama.cpp: metadata, and tensors that are dequantized one at a time.

    file = GGUFFile("qwen2.5-0.5b-instruct-q4_k_m.gguf")
    file.metadata["general.architecture"]           # "qwen2"
    file.read("token_embd.weight")                  # float32, as PyTorch has it: [out, in]

The header is read here: the reader of the package `gguf` makes an array of each string, and takes half a minute for a
vocabulary of 150,000. The package dequantizes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import struct
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from tflm.errors import UserError
from tflm.models.checkpoints.tensor_files import TensorSource

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 4
_ROWS = 4096


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    kind: int
    offset: int


class GGUFFile(TensorSource):
    """One GGUF file of version 2 or 3.

    Raises:
        UserError: it is not complete, not GGUF, or the package `gguf` is not installed.
    """

    def __init__(self, path: str) -> None:
        self._quants = _quants(path)
        self._size = os.path.getsize(path)
        with open(path, "rb") as file:
            try:
                self.metadata, self._tensors = _read_header(file, path)
            except (struct.error, KeyError, MemoryError, OverflowError) as error:
                raise UserError(
                    f"{path!r} is not a complete GGUF file ({error!r}, {self._size:,} bytes). Download it again."
                ) from error
            alignment = int(self.metadata.get("general.alignment", 32))
            self._begin = -(-file.tell() // alignment) * alignment
        super().__init__(path, {name: tensor.shape for name, tensor in self._tensors.items()})
        end = max((self._place(name)[1] for name in self._tensors), default=0)
        if end > self._size:
            raise UserError(
                f"{path!r} is not complete: {self._size:,} bytes, expected {end:,}. Download it again."
            )

    def read(self, name: str) -> np.ndarray:
        """A tensor in float32."""
        begin, end = self._place(name)
        tensor = self._tensors[name]
        data = np.fromfile(self.place, np.uint8, end - begin, offset=begin)
        rows = data.reshape(*tensor.shape[:-1], -1)
        kind = self._kind(name)
        if kind.name in ("F32", "F16"):
            return rows.view(np.float32 if kind.name == "F32" else np.float16)
        return self._dequantized(rows, kind, tensor.shape)

    def _dequantized(self, rows: np.ndarray, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Some rows at a time: `dequantize` takes several times the memory of its result."""
        rows = rows.reshape(-1, rows.shape[-1])
        values = np.empty((len(rows), shape[-1]), np.float32)
        for first in range(0, len(rows), _ROWS):
            values[first : first + _ROWS] = self._quants.dequantize(rows[first : first + _ROWS], kind)
        return values.reshape(shape)

    def _kind(self, name: str) -> Any:
        try:
            return self._quants.GGMLQuantizationType(self._tensors[name].kind)
        except ValueError as error:
            raise UserError(
                f"{self.place!r}: {name} has the type {self._tensors[name].kind}, which the installed gguf does not "
                "know. pip install --upgrade gguf."
            ) from error

    def _place(self, name: str) -> tuple[int, int]:
        """First byte and the end of a tensor."""
        tensor = self._tensors[name]
        block, num_bytes = self._quants.GGML_QUANT_SIZES[self._kind(name)]
        begin = self._begin + tensor.offset
        return begin, begin + math.prod(tensor.shape) // block * num_bytes


def _quants(path: str) -> Any:
    try:
        from gguf import quants
    except ImportError as error:
        raise UserError(f"to read {path!r} the package gguf is needed: pip install 'tflm[gguf]'.") from error
    return quants


def _read_header(file: IO[bytes], path: str) -> tuple[dict[str, Any], dict[str, _Tensor]]:
    if file.read(4) != MAGIC:
        raise UserError(
            f"{path!r} is not a GGUF file: it does not begin with {MAGIC.decode()}. Give a folder with config.json, or "
            "a .gguf file."
        )
    version, num_tensors, num_fields = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise UserError(
            f"{path!r} has version {version} of GGUF; supported: 2, 3. Convert it with a newer llama.cpp."
        )
    metadata = {}
    for _ in range(num_fields):
        name = _string(file)
        metadata[name] = _value(file, _scalar(file, 4))
    tensors = {}
    for _ in range(num_tensors):
        name, num_dimensions = _string(file), _scalar(file, 4)
        if num_dimensions > _MOST_DIMENSIONS:
            raise struct.error(f"{num_dimensions} dimensions")
        shape = struct.unpack(f"<{num_dimensions}Q", file.read(8 * num_dimensions))
        kind, offset = struct.unpack("<IQ", file.read(12))
        tensors[name] = _Tensor(shape[::-1], kind, offset)
    return metadata, tensors


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _scalar(file, kind)
    kind, count = _scalar(file, 4), _scalar(file, 10)
    if kind in (_STRING, _ARRAY):
        return [_value(file, kind) for _ in range(count)]
    form = _SCALARS[kind]
    return list(struct.unpack(f"<{count}{form}", file.read(count * struct.calcsize(form))))


def _scalar(file: IO[bytes], kind: int) -> Any:
    form = "<" + _SCALARS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _string(file: IO[bytes]) -> str:
    length = _scalar(file, 10)
    data = file.read(length)
    if len(data) < length:
        raise struct.error(f"a string of {length} bytes is cut off")
    return data.decode("utf-8", errors="replace")


def metadata_value(metadata: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A value of the architecture; a float as the shortest decimal number of its float32.

    >>> metadata_value({"general.architecture": "llama", "llama.rope.freq_base": 1e4}, "rope.freq_base")
    10000.0
    """
    value = metadata.get(f"{metadata['general.architecture']}.{name}", default)
    return float(str(np.float32(value))) if isinstance(value, float) else value
