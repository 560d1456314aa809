"""MappedBatches: other batches, changed by a function that draws at random: masks that are new in every epoch."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tflm.data.batches import Batch, Batches

MapFn = Callable[[Batch, tf.Tensor], Batch]


class MappedBatches(Batches):
    """Batch number n is `map_fn(batch n of batches, seed of n)`.

    The seed is a hash of the seed of `batches` and of n, which in training counts on through all epochs: the
    same text has another seed each time it comes. An evaluation always has the same ones. So the position in
    the data is still one integer.

        batches 5 6 7   map_fn hides a token at random   ->   epoch 0: 5 4 7   epoch 1: 5 6 4
    """

    def __init__(self, batches: Batches, map_fn: MapFn, element_spec: Mapping[str, tf.TensorSpec]) -> None:
        """Args:
        batches: of any kind.
        map_fn: a batch and a seed for stateless ops, int64 [2], to a batch; in graph.
        element_spec: shape and dtype of each feature that `map_fn` gives.
        """
        super().__init__(batches.batch_size, batches.seed, batches.training)
        self._batches, self._map_fn, self._element_spec = batches, map_fn, dict(element_spec)

    @property
    def batches_per_epoch(self) -> int:
        return self._batches.batches_per_epoch

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        return self._element_spec

    def _batch(self, index: tf.Tensor) -> Batch:
        # Not the seed itself: with that one the batches hash their epochs.
        counted = tf.stack([tf.constant(-1 - self.seed, tf.int64), index])
        seed = tf.random.stateless_uniform([2], counted, minval=None, maxval=None, dtype=tf.int64)
        return self._map_fn(self._batches._shaped_batch(index), seed)
