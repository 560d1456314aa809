"""Batches: the base class of all batching. Batch n is a function of the seed and n."""

import abc
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tflm.errors import UserError

Batch = dict[str, tf.Tensor]


class Batches(abc.ABC):
    """Batches of a token store, as `tf.data`.

    A batch is a dict of tensors according to `element_spec`, padded with 0, the pad id. All batches have B rows.

    Training batches are endless, with a new order in each epoch. Evaluation batches are one pass in a fixed order. A
    subclass implements `_batch`, the content of batch n.
    """

    def __init__(self, batch_size: int, seed: int, training: bool) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.seed = seed
        self.training = training

    @property
    @abc.abstractmethod
    def batches_per_epoch(self) -> int:
        """Number of batches in one pass over the data; equal in all epochs."""

    @abc.abstractmethod
    def _batch(self, index: tf.Tensor) -> Batch:
        """Batch `index`, int64 scalar, counted over all epochs. Runs in graph, without AutoGraph."""

    @property
    @abc.abstractmethod
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each feature of a batch, batch axis first; None for variable sizes."""

    def epochs(self, num_batches: int) -> dict[str, float]:
        """How often each source of a mixture is used in the first `num_batches` training batches; empty for a single
        source."""
        del num_batches
        return {}

    def dataset(self, start_batch: int = 0) -> tf.data.Dataset:
        """The batches from `start_batch` on, without reading earlier ones.

        Args:
            start_batch: int, >= 0; in training counted over all epochs.
        Raises:
            UserError: start_batch is negative.
        """
        if start_batch < 0:
            raise UserError(f"start_batch is {start_batch}; it must not be negative")
        end = np.iinfo(np.int64).max if self.training else self.batches_per_epoch
        dataset = tf.data.Dataset.range(start_batch, max(start_batch, end))
        batch_fn = tf.autograph.experimental.do_not_convert(self._shaped_batch)
        dataset = dataset.map(batch_fn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dataset.prefetch(tf.data.AUTOTUNE)

    def iterator(self, start_batch: int = 0) -> "BatchIterator":
        """An iterator over `dataset(start_batch)` whose position can be saved and restored."""
        return BatchIterator(self, start_batch)

    def _shaped_batch(self, index: tf.Tensor) -> Batch:
        batch = self._batch(index)
        return {name: tf.ensure_shape(batch[name], spec.shape) for name, spec in self.element_spec.items()}

    def _epoch_seed(self, epoch: tf.Tensor, purpose: int) -> tf.Tensor:
        """A seed, int64 [2], for a stateless random op. `purpose`, 0 to 3, separates random streams of one epoch.

        The seed is hashed, because `index_shuffle` gives correlated permutations for consecutive seeds.
        """
        counted = tf.stack([tf.constant(self.seed, tf.int64), epoch * 4 + purpose])
        return tf.random.stateless_uniform([2], counted, minval=None, maxval=None, dtype=tf.int64)


def next_token_spec(batch_size: int, width: int | None) -> dict[str, tf.TensorSpec]:
    """Spec of next-token prediction: `token_ids` int32 [B, T], `targets` int32 [B, T], `loss_weights` float32 [B, T].

    `targets[b, t]` is the token after `token_ids[b, t]`, with loss weight `loss_weights[b, t]`, 0 at padding.
    """
    shape = [batch_size, width]
    return {
        "token_ids": tf.TensorSpec(shape, tf.int32),
        "targets": tf.TensorSpec(shape, tf.int32),
        "loss_weights": tf.TensorSpec(shape, tf.float32),
    }


def shuffled(indices: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Applies a pseudorandom permutation of 0 ... count - 1 to `indices`, at a cost independent of `count`.

    >>> shuffled(tf.range(4, dtype=tf.int64), 4, seed=[5, 9])
    [3, 0, 1, 2]

    Args:
        indices: int64 [N], each below `count`.
        count: int.
        seed: int64 [2].
    Returns:
        int64 [N].
    """
    return tf.random.experimental.index_shuffle(indices, seed, tf.constant(count - 1, tf.int64))


class BatchIterator(Iterator[Batch]):
    """An iterator over batches whose complete state is the number of the next batch."""

    def __init__(self, batches: Batches, start_batch: int = 0) -> None:
        self._batches = batches
        self._start(start_batch)

    def _start(self, position: int) -> None:
        self._position = position
        self._iterator = iter(self._batches.dataset(position))

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._position += 1
        return batch

    def state(self) -> dict[str, int]:
        """{"position": n}, where n is the number of the next batch."""
        return {"position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Continues from a result of `state`, of this iterator or another one over the same batches."""
        self._start(int(state["position"]))
