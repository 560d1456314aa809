"""MixedOrder: the order of training rows from several sources, drawn by weight."""

import numpy as np
import tensorflow as tf

from tflm.data.token_store import StoreMixture
from tflm.errors import UserError

_CYCLE = 1000  # rows in which each source has its exact share
_CYCLE_ORDER, _ROW_ORDER = 0, 1  # purposes of a seed; those of `random` follow


class MixedOrder:
    """Which row of which source has position n of the training, as a function of the seed and n.

    Of every 1000 positions, each source has its share, in an order of their own. Each source is used in passes: every
    row once, in a new order, before any is used again. So a small source with a large weight is repeated, and a large
    one with a small weight may not be finished; `epochs` tells how often.

        weights 0.75 0.25, 4 and 2 rows   ->   sources 0 0 1 0  0 0 1 0, rows 2 0 0 3  1 1 1 2
    """

    def __init__(self, mixture: StoreMixture, counts: np.ndarray, seed: int) -> None:
        """Args:
            mixture: names and weights of P sources.
            counts: number of rows of each, int64 [P].
            seed: int.

        Raises:
            UserError: a source has no row, or a weight is below a thousandth.
        """
        for name, count, weight in zip(mixture.names, counts, mixture.weights):
            if not count:
                raise UserError(
                    f"the source {name!r} of the mixture has nothing to train on: no row, or less text than one block; "
                    "leave it out, or give more text"
                )
            if weight < 1 / _CYCLE:
                raise UserError(
                    f"the source {name!r} has {100 * weight:.2g}% of the weight; the least is {100 / _CYCLE:.1g}%. "
                    "Raise its weight or leave it out"
                )
        self._mixture, self._seed = mixture, seed
        self._counts, self._quotas = np.asarray(counts, np.int64), _quotas(mixture.weights)
        self._ends = np.cumsum(self._quotas)

    def draw(self, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The row of each position.

        Args:
            positions: int64 [N], counted over the whole training.
        Returns:
            The source, its pass, and the row in it; int64 [N] each.
        """
        cycle, within = positions // _CYCLE, positions % _CYCLE
        last = tf.fill(tf.shape(positions), tf.constant(_CYCLE - 1, tf.int64))
        place = _shuffled(within, last, self._hashed(_CYCLE_ORDER, cycle))
        source = tf.searchsorted(tf.constant(self._ends), place, side="right", out_type=tf.int64)
        quota, count = tf.gather(self._quotas, source), tf.gather(self._counts, source)
        number = cycle * quota + place - (tf.gather(self._ends, source) - quota)
        epoch = number // count
        row = _shuffled(number % count, count - 1, self._hashed(_ROW_ORDER, source, epoch))
        return source, epoch, row

    def random(self, limits: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
        """A random number from 0 to `limits` - 1 for each combination of `numbers`; all int64 [N]."""
        return tf.cast(self._hashed(2, *numbers) // 2, tf.int64) % limits

    def epochs(self, num_rows: int) -> dict[str, float]:
        """How often each source is used in the first `num_rows` positions."""
        shares = num_rows * self._quotas / _CYCLE / self._counts
        return dict(zip(self._mixture.names, map(float, shares)))

    def _hashed(self, purpose: int, *numbers: tf.Tensor) -> tf.Tensor:
        """uint64 [N]: a hash of seed, purpose and numbers int64 [N]."""
        state = tf.cast(
            tf.fill(tf.shape(numbers[0]), tf.constant(self._seed * 4 + purpose, tf.int64)), tf.uint64
        )
        for number in numbers:
            state = _mixed(tf.bitwise.bitwise_xor(_mixed(state), tf.cast(number, tf.uint64)))
        return state


def _shuffled(indices: tf.Tensor, last: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Each index under a pseudorandom permutation of 0 to `last`; int64 [N], int64 [N], uint64 [N]."""
    # `tf.random.experimental.index_shuffle` takes one seed for all indices.
    numbers = tf.stack([seeds, _mixed(seeds), _mixed(_mixed(seeds))], axis=1)
    return tf.raw_ops.RandomIndexShuffle(
        index=indices, seed=tf.bitcast(numbers, tf.int64), max_index=last, rounds=4
    )


def _mixed(numbers: tf.Tensor) -> tf.Tensor:
    """splitmix64 (Steele et al., 2014): a bijection of uint64 whose bits look random."""
    right = tf.bitwise.right_shift
    numbers = numbers + tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = tf.bitwise.bitwise_xor(numbers, right(numbers, tf.constant(shift, tf.uint64)))
        numbers = numbers * tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(numbers, right(numbers, tf.constant(31, tf.uint64)))


def _quotas(weights: tuple[float, ...]) -> np.ndarray:
    """The number of positions of each source in a cycle, int64 [P], by largest remainders.

    >>> _quotas((0.5, 0.3334, 0.1666))
    array([500, 333, 167])
    """
    exact = np.asarray(weights) * _CYCLE
    quotas = np.maximum(1, np.floor(exact)).astype(np.int64)
    order = np.argsort(quotas - exact, kind="stable")
    quotas[order[: max(0, _CYCLE - quotas.sum())]] += 1
    quotas[np.argmax(quotas)] += _CYCLE - quotas.sum()
    return quotas
