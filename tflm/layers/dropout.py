"""Dropout whose mask belongs to an example, and not to the device that computes it.

    with drawing_masks(masks):            # in a training step; `masks` knows the step and the rows
        hidden_states = model(token_ids, training=True)

Without such a block the layer is Keras's own: its masks come from its random generator, which counts the calls on each
device, so that another number of devices gives other masks.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import keras
from keras import ops

from tflm.errors import UserError

Tensor = Any


class Masks(Protocol):
    """Draws the random numbers of one pass over some rows of a batch.

    A pass numbers what it draws: a mask, or all masks of a part of the model that is computed again in the backward
    pass. Passes over other rows of the batch, on other devices, give the same numbers in the same order.
    """

    def next_number(self) -> int:
        """The number of the next mask or part of this pass."""

    def part(self, number: int) -> "Masks":
        """The masks of a part with this number, from its first one."""

    def uniform(self, number: int, shape: tuple[Any, ...]) -> Tensor:
        """float32 in [0, 1) of `shape`, rows of the batch first. What a row gets is a function of the step, the number
        and the row's place in the whole batch."""


_current = threading.local()  # each replica of a strategy is traced in a thread of its own


@contextlib.contextmanager
def drawing_masks(masks: Masks | None) -> Iterator[None]:
    """A block in which each `Dropout` layer draws from `masks`; with None from its own generator."""
    outer = _masks()
    _current.masks = masks
    try:
        yield
    finally:
        _current.masks = outer


@contextlib.contextmanager
def drawing_part() -> Iterator[None]:
    """A block that numbers its masks as a part, as `drawing_masks_again` does: so both draw the same."""
    masks = _masks()
    with drawing_masks(None if masks is None else masks.part(masks.next_number())):
        yield


def drawing_masks_again(function: Callable[..., Tensor], has_dropout: bool) -> Callable[..., Tensor]:
    """`function`, drawing the same masks in each call, for what is computed again in the backward pass.

    Raises:
        UserError: it has dropout, and this is not in a `drawing_masks` block: the second masks would be others.
    """
    masks = _masks()
    if masks is None or not has_dropout:
        if has_dropout:
            raise UserError(
                "model.recompute with dropout needs training.dropout_masks=per_example: other masks would be drawn in "
                "the backward pass. Set it, or set model.recompute=false."
            )
        return function
    number = masks.next_number()

    def again(*arguments: Tensor) -> Tensor:
        with drawing_masks(masks.part(number)):
            return function(*arguments)

    return again


class Dropout(keras.layers.Dropout):
    """Zeroes elements with probability `rate` and scales the others by 1 / (1 - rate) (Srivastava et al., 2014).

    Args:
        rate: float in [0, 1).
        noise_shape: as in Keras: None for a draw of each element's own, 1 for one draw along that axis.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """float [B, ...] of `inputs` float [B, ...], rows of the batch first; unchanged without `training`."""
        masks = _masks()
        if masks is None or not training or not self.rate:
            return super().call(inputs, training=training)
        shape = tuple(ops.shape(inputs))
        if self.noise_shape is not None:
            shape = tuple(
                own if given is None else given for own, given in zip(shape, self.noise_shape, strict=True)
            )
        kept = masks.uniform(masks.next_number(), shape) >= self.rate
        return ops.where(kept, inputs * (1.0 / (1.0 - self.rate)), ops.cast(0.0, inputs.dtype))


def _masks() -> Masks | None:
    return getattr(_current, "masks", None)
