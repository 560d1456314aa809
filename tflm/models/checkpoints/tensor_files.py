"""Files of tensors, read one tensor at a time: safetensors, files of PyTorch, shards of both.

source = open_tensors("MiniLM")          # model.safetensors, or shards and their index, or pytorch_model.bin
source.shapes["embeddings.word_embeddings.weight"]      # (30522, 384)
source.read("embeddings.word_embeddings.weight")        # np.ndarray of the dtype of the file
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.models.checkpoints.pickled import PickledFile

Shape = tuple[int, ...]

SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"


class TensorSource:
    """Tensors by name, each read when it is asked for.

    Args:
        place: the file or folder, for messages.
        shapes: name to shape.
    """

    def __init__(self, place: str, shapes: Mapping[str, Shape]) -> None:
        self.place, self.shapes = place, dict(shapes)

    def read(self, name: str) -> np.ndarray:
        """The tensor in the dtype of the file; bfloat16 as that of ml_dtypes.

        Raises:
            UserError: the file is damaged.
        """
        raise NotImplementedError


class SafetensorsFile(TensorSource):
    """One file in the format safetensors. It is opened for each tensor: an open one stays in memory as it is read."""

    def __init__(self, path: str) -> None:
        with _open_safetensors(path) as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
        super().__init__(path, shapes)

    def read(self, name: str) -> np.ndarray:
        """See `TensorSource`."""
        with _open_safetensors(self.place) as file:
            return file.get_tensor(name)


class PickledTensors(TensorSource):
    """One file of PyTorch; see `PickledFile`."""

    def __init__(self, path: str) -> None:
        self._file = PickledFile(path)
        super().__init__(path, {name: tensor.shape for name, tensor in self._file.tensors.items()})

    def read(self, name: str) -> np.ndarray:
        """See `TensorSource`."""
        return self._file.read(name)


class Shards(TensorSource):
    """Several files, of which an index says which tensor is in which.

    Args:
        index: path of the index, with a `weight_map`.
        open_file: opens one of the files.
    Raises:
        UserError: the index is damaged, a shard is missing, or a tensor is not in the shard that the index names.
    """

    def __init__(self, index: str, open_file: Any) -> None:
        folder, places = os.path.dirname(index), _weight_map(index)
        absent = sorted(
            name for name in set(places.values()) if not os.path.isfile(os.path.join(folder, name))
        )
        if absent:
            raise UserError(
                f"{folder!r} lacks {', '.join(absent)}, which {os.path.basename(index)} names. "
                "Download the folder again."
            )
        files = {name: open_file(os.path.join(folder, name)) for name in sorted(set(places.values()))}
        self._files = {tensor: files[name] for tensor, name in places.items()}
        lost = sorted(tensor for tensor, file in self._files.items() if tensor not in file.shapes)
        if lost:
            raise UserError(
                f"{places[lost[0]]!r} lacks {some(lost)}, which {index!r} says are in it. Download the folder again."
            )
        super().__init__(folder, {tensor: file.shapes[tensor] for tensor, file in self._files.items()})

    def read(self, name: str) -> np.ndarray:
        """See `TensorSource`."""
        return self._files[name].read(name)


def open_tensors(folder: str) -> TensorSource:
    """The weights in a folder: safetensors where there are, else a file of PyTorch.

    Raises:
        UserError: there are none, or a file is damaged.
    """
    for name, open_file in ((SAFETENSORS, SafetensorsFile), (PICKLED, PickledTensors)):
        path = os.path.join(folder, name)
        if os.path.isfile(f"{path}.index.json"):
            return Shards(f"{path}.index.json", open_file)
        if os.path.isfile(path):
            return open_file(path)
    raise UserError(
        f"{folder!r} has no weights: expected {SAFETENSORS}, {PICKLED}, or shards with {SAFETENSORS}.index.json; found "
        f"{some(sorted(os.listdir(folder))) or 'nothing'}. Download the folder again, with its weights."
    )


def some(names: Sequence[str], count: int = 8) -> str:
    """The first names, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")


def _open_safetensors(path: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        size = f"{os.path.getsize(path):,} bytes" if os.path.isfile(path) else "no such file"
        raise UserError(
            f"cannot read {path!r}: {error} ({size}). The file is not complete or not in the "
            "format safetensors. Download it again."
        ) from error


def _weight_map(index: str) -> dict[str, str]:
    try:
        with open(index, encoding="utf-8") as file:
            places = json.load(file)["weight_map"]
        return {str(tensor): str(name) for tensor, name in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index!r} is no index of shards: expected JSON with a 'weight_map' ({error!r}). Download it again."
        ) from error
