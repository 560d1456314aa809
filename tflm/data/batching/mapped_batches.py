"""MappedBatches: batches transformed by a random function, such as dynamic masking (Liu et al., 2019, section 4.1)."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tflm.data.batching.batches import Batch, Batches

MapFn = Callable[[Batch, tf.Tensor], Batch]


class MappedBatches(Batches):
    """Batch n is `map_fn(batch n of batches, seed of n)`.

    The seed is a hash of the seed of `batches` and of n. In training, n counts over all epochs, so a text has a new
    seed in each epoch; in evaluation, seeds are fixed. The position in the data is still one integer.

        batches 5 6 7   map_fn masks a random token   ->   epoch 0: 5 4 7   epoch 1: 5 6 4
    """

    def __init__(self, batches: Batches, map_fn: MapFn, element_spec: Mapping[str, tf.TensorSpec]) -> None:
        """Args:
        batches: any `Batches`.
        map_fn: maps a batch and a seed int64 [2] for stateless random ops to a batch; runs in graph.
        element_spec: shape and dtype of each feature of the result.
        """
        super().__init__(batches.batch_size, batches.seed, batches.training)
        self._batches, self._map_fn, self._element_spec = batches, map_fn, dict(element_spec)

    @property
    def batches_per_epoch(self) -> int:
        return self._batches.batches_per_epoch

    def epochs(self, num_batches: int) -> dict[str, float]:
        return self._batches.epochs(num_batches)

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        return self._element_spec

    def _batch(self, index: tf.Tensor) -> Batch:
        # A different seed than that of `_epoch_seed`, which `batches` use.
        counted = tf.stack([tf.constant(-1 - self.seed, tf.int64), index])
        seed = tf.random.stateless_uniform([2], counted, minval=None, maxval=None, dtype=tf.int64)
        return self._map_fn(self._batches._shaped_batch(index), seed)
