"""Dropout masks that are a function of the seed, the step and the row of the batch, wherever the row is computed."""

from typing import Any

import tensorflow as tf

_PHILOX = 1
_PER_COUNT = 4
"""Numbers that Philox gives for each count of its counter."""
_NUMBERS = 1 << 16
"""More than one pass, or one part of it, draws."""


def step_key(seed: int, step: tf.Tensor) -> tf.Tensor:
    """The key of a step's masks, uint64 [1], for the run's seed and the step, int64 scalar."""
    pair = tf.stack([tf.constant(seed, tf.int64), step])
    return tf.random.stateless_uniform([1], pair, minval=None, maxval=None, dtype=tf.uint64, alg="philox")


class RowMasks:
    """Draws with Philox, a counter-based generator (Salmon et al., 2011): what row r gets begins at the count r times
    the counts of a row. So rows that follow each other are one draw, as cheap as a draw for a batch of their own.

    Implements `tflm.layers.Masks`; make a new one for each pass.

    Args:
        key: uint64 [1], see `step_key`.
        first_row: int64 scalar, the place of the first row in the whole batch of the step.
        prefix: int, the number of the part of the pass; 0 for the pass itself.
    """

    def __init__(self, key: tf.Tensor, first_row: tf.Tensor, prefix: int = 0) -> None:
        self._key, self._first_row, self._prefix, self._number = key, first_row, prefix, 0

    def next_number(self) -> int:
        """1, 2, 3, ..."""
        self._number += 1
        return self._number

    def part(self, number: int) -> "RowMasks":
        """Masks whose numbers begin at 1 again, and differ from all others of the pass."""
        return RowMasks(self._key, self._first_row, self._prefix * _NUMBERS + number)

    def again(self) -> "RowMasks":
        """The same masks from the first one, for another pass."""
        return RowMasks(self._key, self._first_row, self._prefix)

    def uniform(self, number: int, shape: tuple[Any, ...]) -> tf.Tensor:
        """See `tflm.layers.Masks`. On one device, and with the same compiler, equal bit for bit for each row."""
        rows, *rest = shape
        width = 1
        for size in rest:
            width = width * size
        counts = (width + _PER_COUNT - 1) // _PER_COUNT
        begin = self._first_row * tf.cast(counts, tf.int64)
        draw = self._prefix * _NUMBERS + number
        values = tf.raw_ops.StatelessRandomUniformV2(
            shape=tf.stack([rows, counts * _PER_COUNT]),
            key=self._key,
            counter=tf.stack([tf.cast(begin, tf.uint64), tf.constant(draw, tf.uint64)]),
            alg=_PHILOX,
        )
        if not isinstance(width, int) or width % _PER_COUNT:
            values = values[:, :width]
        return tf.reshape(values, tf.stack(shape))
