"""Files of PyTorch (`pytorch_model.bin`) without running what is pickled in them, and without PyTorch.

Such a file is a zip archive: a pickle that describes the tensors, and the bytes of each storage. A pickle may name any
function and call it. Here the names that tensors need stand for harmless ones, and every other name is refused.
"""

import collections
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from tflm.errors import UserError

_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Storage(NamedTuple):
    key: str
    dtype: Any
    num_items: int


class PickledTensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class PickledFile:
    """The tensors of one file.

    Args:
        path: of the file.
    Raises:
        UserError: it is not such a file, or holds something other than tensors.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._root, content = self._load(archive)
        except (zipfile.BadZipFile, EOFError, KeyError, StopIteration) as error:
            raise UserError(
                f"cannot read {path!r}: not a complete zip archive ({error}). Download it again; if it was saved by "
                f"PyTorch before 1.6, {_CONVERT}"
            ) from error
        if not isinstance(content, Mapping) or not content:
            raise UserError(
                f"{path!r} holds {type(content).__name__}, not named tensors. {_CONVERT.capitalize()}"
            )
        others = sorted(str(name) for name, value in content.items() if not isinstance(value, PickledTensor))
        if others:
            raise UserError(
                f"{path!r} holds other things than tensors: {', '.join(others[:5])}. {_CONVERT.capitalize()}"
            )
        self.tensors: dict[str, PickledTensor] = dict(content)

    def read(self, name: str) -> np.ndarray:
        """A tensor in the dtype of the file.

        Raises:
            UserError: its bytes are not all there.
        """
        storage, offset, shape, strides = self.tensors[name]
        try:
            with zipfile.ZipFile(self.path) as archive:
                data = archive.read(f"{self._root}/data/{storage.key}")
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise UserError(f"{self.path!r} is damaged at {name!r}: {error}. Download it again.") from error
        items = np.frombuffer(data, storage.dtype)
        if len(items) < _extent(offset, shape, strides):
            raise UserError(f"{self.path!r} is damaged: {name!r} has too few bytes. Download it again.")
        size = items.itemsize
        return np.lib.stride_tricks.as_strided(
            items[offset:], shape, [stride * size for stride in strides], writeable=False
        )

    def _load(self, archive: zipfile.ZipFile) -> tuple[str, Any]:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = name.rpartition("/")[0]
        if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
            raise UserError(f"{self.path!r} has big-endian numbers. {_CONVERT.capitalize()}")
        with archive.open(name) as file:
            try:
                return root, _TensorUnpickler(file, self.path).load()
            except (pickle.UnpicklingError, AttributeError, IndexError, TypeError, ValueError) as error:
                if isinstance(error, UserError):
                    raise
                raise UserError(f"{self.path!r} is damaged: {error!r}. Download it again.") from error


_CONVERT = (
    "convert it where you trust it: load it with transformers and call model.save_pretrained(FOLDER, "
    "safe_serialization=True)."
)


class _TensorUnpickler(pickle.Unpickler):
    """Knows the names that tensors need, and refuses all others."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise UserError(
            f"{self._path!r} is a pickle that names {module}.{name}; only tensors are read, since a pickle can run any "
            f"code. If you trust it, {_CONVERT}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage by its key in the archive."""
        kind, dtype, key, _, num_items = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return _Storage(str(key), dtype, int(num_items))


def _tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> PickledTensor:
    return PickledTensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(tensor: PickledTensor, *_: Any) -> PickledTensor:
    return tensor


_NAMES = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def _extent(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many items of its storage a view reaches over."""
    if math.prod(shape) == 0:
        return offset
    if offset < 0 or any(stride < 0 for stride in strides) or len(shape) != len(strides):
        return 1 << 62
    return offset + 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
