"""Chains of elementwise operations that a training step may compile into one kernel each.

    with fusing(fusion):                          # in a training step
        hidden_states = model(token_ids, training=True)

Between two matrix products a model reads and writes each tensor many times, once for each operation. `fused` and
`compiled` mark such chains. Without a `fusing` block they are computed as they are written.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import keras

Tensor = Any


class Fusion(Protocol):
    """Computes chains of operations by other means. A function is pure, and the same object in every call. Shapes that
    are not known are functions of the shape of the batch."""

    def fuse(
        self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], constants: tuple[Tensor, ...]
    ) -> Tensor:
        """function(*inputs, *constants), a tensor, with its gradient with respect to `inputs`."""

    def compile(self, function: Callable[..., Any], inputs: tuple[Any, ...], repeated: bool) -> Any:
        """function(*inputs), tensors of any structure, without a gradient."""


_current = threading.local()  # each replica of a strategy is traced in a thread of its own


@contextlib.contextmanager
def fusing(fusion: Fusion | None) -> Iterator[None]:
    """A block in which chains are computed by `fusion`; with None as they are written."""
    outer = _fusion()
    _current.fusion = fusion
    try:
        yield
    finally:
        _current.fusion = outer


def fused(function: Callable[..., Tensor], *inputs: Tensor, constants: tuple[Tensor, ...] = ()) -> Tensor:
    """function(*inputs, *constants), compiled as a whole in a `fusing` block.

    Args:
        function: pure, of tensors alone, and the same object in every call, so that it is compiled once.
        inputs: tensors.
        constants: tensors without a gradient, such as masks.
    """
    fusion = _fusion_of((inputs, constants))
    return function(*inputs, *constants) if fusion is None else fusion.fuse(function, inputs, constants)


def compiled(function: Callable[..., Any], *inputs: Any, repeated: bool = False) -> Any:
    """function(*inputs) of tensors in any structure, compiled as a whole in a `fusing` block. It has no gradient: for
    chains inside a custom gradient.

    Args:
        function: as of `fused`.
        inputs: tensors in any structure.
        repeated: bool, this is done in every step of a text, so that it pays for smaller tensors.
    """
    fusion = _fusion_of(inputs)
    return function(*inputs) if fusion is None else fusion.compile(function, inputs, repeated)


@contextlib.contextmanager
def any_shapes() -> Iterator[None]:
    """A block in which chains of tensors whose shape is not known are computed as they are written, since it depends on
    more than the shape of the batch: there would be no end of kernels."""
    outer = _is_unbounded()
    _current.is_unbounded = True
    try:
        yield
    finally:
        _current.is_unbounded = outer


def is_fusing() -> bool:
    """Whether this is a `fusing` block: a training step, where a layer may have a gradient of its own."""
    return _fusion() is not None


def _fusion() -> Fusion | None:
    return getattr(_current, "fusion", None)


def _fusion_of(tensors: Any) -> Fusion | None:
    """What computes a chain of these tensors; None for the chain itself."""
    if _is_unbounded() and any(None in each.shape for each in keras.tree.flatten(tensors)):
        return None
    return _fusion()


def _is_unbounded() -> bool:
    return getattr(_current, "is_unbounded", False)
