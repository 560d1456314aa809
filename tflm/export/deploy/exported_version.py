"""What can be known of an exported version from its files: sizes, and how its signatures may be batched."""

import dataclasses
import json
import math
import os
from typing import Any

import tensorflow as tf

from tflm.export.signatures import is_compiled, read_meta_graph, user_signatures
from tflm.export.state_size import STATE_PREFIX
from tflm.export.versions import split_output, version_numbers

_MAX_LENGTH = 1024  # where the config names none


@dataclasses.dataclass(frozen=True)
class ExportedVersion:
    """An exported version as a server sees it."""

    name: str
    """Under which it is served: the name of its folder."""
    version: int
    previous_version: int | None
    """The highest one below it that is there."""
    num_weight_bytes: int
    num_graph_bytes: int
    num_state_bytes: int
    """What a row holds while it is written, at the model's greatest length; 0 where the signatures do not tell."""
    writes: bool
    """Whether it writes text token by token, so that an answer may take minutes."""
    list_signatures: tuple[str, ...]
    """Those with inputs [B, N]: a stock server puts their requests together only where N is equal."""
    state_signatures: tuple[str, ...]
    """Those that take a state: the states of two texts hardly ever fit each other, padded or not."""
    compiled_signatures: tuple[str, ...]
    """Those that XLA compiles, once for each shape."""

    @property
    def may_be_batched(self) -> bool:
        """Whether a stock server, which batches all signatures or none, may do so."""
        return not self.list_signatures and not self.state_signatures


def read_exported_version(path: str) -> ExportedVersion:
    """Reads a version's files; nothing is loaded.

    >>> read_exported_version("saved_models/sentiment/3")
    ExportedVersion(name="sentiment", version=3, previous_version=2, num_weight_bytes=1203400, ...)

    Args:
        path: `saved_models/NAME/VERSION`.
    Raises:
        UserError: no SavedModel there.
    """
    folder, version = split_output(os.path.abspath(path))
    meta_graph = read_meta_graph(path)
    inputs = {name: meta_graph.signature_def[name].inputs for name in user_signatures(meta_graph)}
    states = [
        name for name, tensors in inputs.items() if any(key.startswith(STATE_PREFIX) for key in tensors)
    ]
    lists = [
        name
        for name, tensors in inputs.items()
        if name not in states and any(len(tensor.tensor_shape.dim) > 1 for tensor in tensors.values())
    ]
    plain = meta_graph.signature_def["serving_default"].outputs if "serving_default" in inputs else {}
    return ExportedVersion(
        name=os.path.basename(folder),
        version=version or 0,
        previous_version=max((n for n in version_numbers(folder) if n < (version or 0)), default=None),
        num_weight_bytes=_size(os.path.join(path, "variables")),
        num_graph_bytes=os.path.getsize(os.path.join(path, "saved_model.pb")),
        num_state_bytes=max((_state_bytes(inputs[name], _max_length(path)) for name in states), default=0),
        writes=set(plain) == {"text"} or any("max_new_tokens" in tensors for tensors in inputs.values()),
        list_signatures=tuple(lists),
        state_signatures=tuple(states),
        compiled_signatures=tuple(name for name in inputs if is_compiled(name)),
    )


def _size(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if os.path.isdir(folder) else 0


def _max_length(path: str) -> int:
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            return int(json.load(file)["model"]["max_length"])
    except (OSError, ValueError, KeyError, TypeError):
        return _MAX_LENGTH


def _state_bytes(tensors: Any, max_length: int) -> int:
    """Bytes of a row's state. Axes of unknown size are the places of the text, but for short lists of settings."""
    total = 0
    for name, tensor in tensors.items():
        sizes = [dim.size for dim in tensor.tensor_shape.dim[1:]]
        if name.startswith(STATE_PREFIX) and tensor.dtype != tf.string.as_datatype_enum:
            total += tf.as_dtype(tensor.dtype).size * math.prod(
                size if size >= 0 else max_length for size in sizes
            )
    return total
