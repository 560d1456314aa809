"""Chains of elementwise operations that a training step may compile into one kernel each.

    with fusing(fuse_fn):                          # in a training step
        hidden_states = model(token_ids, training=True)

Between two matrix products a model reads and writes each tensor many times, once for each operation. `fused` marks
such a chain. Without a `fusing` block it is computed as it is written.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

Tensor = Any


class FuseFn(Protocol):
    """Computes function(*inputs, *constants), and its gradient with respect to `inputs`, by other means."""

    def __call__(
        self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], constants: tuple[Tensor, ...]
    ) -> Tensor: ...


_current = threading.local()  # each replica of a strategy is traced in a thread of its own


@contextlib.contextmanager
def fusing(fuse_fn: FuseFn | None) -> Iterator[None]:
    """A block in which `fused` calls `fuse_fn`; with None the function itself."""
    outer = getattr(_current, "fuse_fn", None)
    _current.fuse_fn = fuse_fn
    try:
        yield
    finally:
        _current.fuse_fn = outer


def fused(function: Callable[..., Tensor], *inputs: Tensor, constants: tuple[Tensor, ...] = ()) -> Tensor:
    """function(*inputs, *constants), compiled as a whole in a `fusing` block.

    Args:
        function: pure, of tensors alone, and the same object in every call, so that it is compiled once.
        inputs: tensors.
        constants: tensors without a gradient, such as masks.
    """
    fuse_fn = getattr(_current, "fuse_fn", None)
    return function(*inputs, *constants) if fuse_fn is None else fuse_fn(function, inputs, constants)
