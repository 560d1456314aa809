"""Batches: what all kinds of batches share. Batch n depends on the seed and n alone."""

import abc
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tflm.errors import UserError

Batch = dict[str, tf.Tensor]


class Batches(abc.ABC):
    """Batches of one token store, as tf.data.

    Each is a dict of tensors as `element_spec` says. Unused places hold 0, the pad id. B is the same in all
    batches.

    For training the batches have no end, and each epoch has its own order. For evaluation they are one pass
    in a fixed order. A subclass says what is in batch number n, and everything else is here.
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
        """The number of batches in one pass over the data; the same in every epoch."""

    @abc.abstractmethod
    def _batch(self, index: tf.Tensor) -> Batch:
        """Batch number `index`, int64 []; counted through all epochs. In graph."""

    @property
    @abc.abstractmethod
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of each feature of a batch, batch first; None for a size that varies."""

    def dataset(self, start_batch: int = 0) -> tf.data.Dataset:
        """The batches from number `start_batch` on. Nothing is read for those before it.

        Args:
            start_batch: >= 0. In training it may be in any epoch.
        """
        if start_batch < 0:
            raise UserError(f"start_batch is {start_batch}; it must not be negative")
        end = np.iinfo(np.int64).max if self.training else self.batches_per_epoch
        dataset = tf.data.Dataset.range(start_batch, max(start_batch, end))
        dataset = dataset.map(self._shaped_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return dataset.prefetch(tf.data.AUTOTUNE)

    def iterator(self, start_batch: int = 0) -> "BatchIterator":
        """An iterator over `dataset(start_batch)` whose place can be saved and restored."""
        return BatchIterator(self, start_batch)

    def _shaped_batch(self, index: tf.Tensor) -> Batch:
        batch = self._batch(index)
        return {name: tf.ensure_shape(batch[name], spec.shape) for name, spec in self.element_spec.items()}

    def _epoch_seed(self, epoch: tf.Tensor, purpose: int) -> tf.Tensor:
        """A seed, int64 [2], for a stateless op. Uses of chance in one epoch differ in `purpose`, 0 to 3.

        It is hashed, because index_shuffle's permutations for seeds that count up are far from independent.
        """
        counted = tf.stack([tf.constant(self.seed, tf.int64), epoch * 4 + purpose])
        return tf.random.stateless_uniform([2], counted, minval=None, maxval=None, dtype=tf.int64)


def next_token_spec(batch_size: int, width: int | None) -> dict[str, tf.TensorSpec]:
    """What a language model learns from: `token_ids` int32 [B, T], `targets` int32 [B, T], `loss_weights` float32
    [B, T].

    `targets[b, t]` is the token after `token_ids[b, t]`, and its loss counts `loss_weights[b, t]` times; 0 at
    unused places.
    """
    shape = [batch_size, width]
    return {
        "token_ids": tf.TensorSpec(shape, tf.int32),
        "targets": tf.TensorSpec(shape, tf.int32),
        "loss_weights": tf.TensorSpec(shape, tf.float32),
    }


def shuffled(indices: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Where a pseudorandom permutation of 0 ... count - 1 sends `indices`; cost does not grow with `count`.

    >>> shuffled(tf.range(4, dtype=tf.int64), 4, seed=[5, 9])
    [3, 0, 1, 2]

    Args:
        indices: int64 [N], each below `count`.
        seed: int64 [2].
    Returns:
        int64 [N].
    """
    return tf.random.experimental.index_shuffle(indices, seed, tf.constant(count - 1, tf.int64))


class BatchIterator(Iterator[Batch]):
    """Gives batches and knows how many it gave: the whole state of the data is that number."""

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
        """{"position": n}: the number of the batch that comes next."""
        return {"position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Goes on from a state that `state` gave, of this iterator or of another over the same batches."""
        self._start(int(state["position"]))
