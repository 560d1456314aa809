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

Tensor = Any


class Fusion(Protocol):
    """Computes chains of operations by other means. A function is pure, and the same object in every call."""

    def fuse(
        self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], constants: tuple[Tensor, ...]
    ) -> Tensor:
        """function(*inputs, *constants), a tensor, with its gradient with respect to `inputs`."""

    def compile(self, function: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
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
    fusion = _fusion()
    return function(*inputs, *constants) if fusion is None else fusion.fuse(function, inputs, constants)


def compiled(function: Callable[..., Any], *inputs: Any) -> Any:
    """function(*inputs) of tensors in any structure, compiled as a whole in a `fusing` block. It has no gradient: for
    chains inside a custom gradient."""
    fusion = _fusion()
    return function(*inputs) if fusion is None else fusion.compile(function, inputs)


def is_fusing() -> bool:
    """Whether this is a `fusing` block: a training step, where a layer may have a gradient of its own."""
    return _fusion() is not None


def _fusion() -> Fusion | None:
    return getattr(_current, "fusion", None)
