"""Intermediate tensors of a forward pass: for losses that compare two models layer by layer, and for explanations.

    with capturing() as captured:
        model(token_ids, training=True)
    captured.of(block, "output")              # float [B, T, D]

Outside of such a block, `capture` does nothing.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from tflm.errors import UserError

Tensor = Any


class Captured:
    """Tensors by the layer that made them."""

    def __init__(self) -> None:
        self._tensors: list[tuple[Any, str, Tensor]] = []

    def add(self, layer: Any, name: str, tensor: Tensor) -> None:
        """Keeps a tensor of a layer."""
        self._tensors.append((layer, name, tensor))

    def all(self, name: str) -> list[tuple[Any, Tensor]]:
        """Every tensor `name` and its layer, in the order in which they were made. A shared layer makes several."""
        return [(layer, tensor) for layer, its_name, tensor in self._tensors if its_name == name]

    def of(self, layer: Any, name: str) -> Tensor:
        """The tensor `name` of the first call of a layer.

        Raises:
            UserError: the layer made none, such as one that is computed again in the backward pass.
        """
        for its_layer, tensor in self.all(name):
            if its_layer is layer:
                return tensor
        raise UserError(f"the layer {layer.name!r} gives no {name.replace('_', ' ')}.")


_current = threading.local()  # each replica of a strategy is traced in a thread of its own


@contextlib.contextmanager
def capturing() -> Iterator[Captured]:
    """A block in which layers keep what `capture` is given."""
    outer, captured = _captured(), Captured()
    _current.captured = captured
    try:
        yield captured
    finally:
        _current.captured = outer


def capture(layer: Any, name: str, tensor: Tensor) -> None:
    """Keeps a tensor of `layer` in a `capturing` block."""
    captured = _captured()
    if captured is not None:
        captured.add(layer, name, tensor)


def _captured() -> Captured | None:
    return getattr(_current, "captured", None)
