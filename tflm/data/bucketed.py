"""BucketedBatches: one example a row, rows of like length together, for sources with targets."""

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data.batches import Batch, Batches, shuffled
from tflm.data.store import TokenStore
from tflm.data.widths import choose_widths
from tflm.errors import UserError

_ORDER, _BATCH_ORDER = 0, 1  # purposes of a seed
_WINDOW = 64  # batches whose rows are sorted together
_NUM_WIDTHS = 24  # distinct shapes, for which a tf.function is traced


class BucketedBatches(Batches):
    """Rows of start + source + separator + target + end, where the tokens after the prefix are learnt.

    A row r of n tokens gives the inputs r[:-1] and the targets r[1:]. A target counts when it lies after the
    first `prefix_length` tokens: weight 1 at places prefix_length - 1 to n - 2, else 0. With prefix_length 3:

        row           1 5 4 7 2
        token_ids     1 5 4 7
        targets       5 4 7 2
        loss_weights  0 0 1 1

    In training the shuffled rows of 64 batches are sorted by length and cut into batches, and all batches of
    the epoch shuffled; rows left over after the last whole batch (others each epoch) wait for another epoch.
    In evaluation all rows are sorted and each comes exactly once; the last batch is filled up with rows of
    weight 0. A batch is as wide as its longest row, raised to one of at most 24 widths, which are chosen so
    that the lengths in the store need the least padding.
    """

    def __init__(
        self, store: TokenStore, batch_size: int, max_length: int, seed: int, training: bool
    ) -> None:
        """Args:
            store: with the features "token_ids" (ragged) and "prefix_length" (int32, one a row).
            batch_size: B.
            max_length: the greatest T. A row of more than max_length + 1 tokens loses its end (`num_cut`
                rows did); a row that then has nothing to learn is left out (`num_left_out`).
            seed: decides the order of every epoch.
            training: endless and shuffled, or one pass.

        Raises:
            UserError: a feature is missing, or no row has anything to learn.
        """
        super().__init__(batch_size, seed, training)
        if max_length < 1:
            raise UserError(f"max_length is {max_length}; it must be at least 1")
        lengths = store.lengths("token_ids")
        prefixes = store.values("prefix_length").astype(np.int64)
        self.num_cut = int((lengths > max_length + 1).sum())
        lengths = np.minimum(lengths, max_length + 1)
        kept = np.flatnonzero(lengths > np.maximum(prefixes, 1))
        self.num_left_out = len(lengths) - len(kept)
        self._report(len(lengths), max_length)
        self._num_rows = len(kept)
        if not training:
            kept = kept[np.argsort(lengths[kept], kind="stable")]
        with tf.device("CPU:0"):
            self._rows = tf.constant(kept, tf.int64)
            self._lengths = tf.constant(lengths[kept] - 1, tf.int64)  # inputs, so one less than tokens
            self._widths = tf.constant(choose_widths(lengths[kept] - 1, _NUM_WIDTHS))
        self._tokens = store.tensor("token_ids")
        self._offsets = store.tensor("token_ids", "offsets")
        self._prefixes = store.tensor("prefix_length")
        self._set_windows()

    def _report(self, num_rows: int, max_length: int) -> None:
        if self.num_left_out == num_rows:
            raise UserError(
                f"none of {num_rows} rows has a token to learn within max_length {max_length}; "
                f"raise max_length or shorten the sources"
            )
        if self.num_cut:
            logging.warning("%d of %d rows are cut to max_length %d", self.num_cut, num_rows, max_length)
        if self.num_left_out:
            logging.warning(
                "%d of %d rows have nothing to learn and are left out", self.num_left_out, num_rows
            )

    def _set_windows(self) -> None:
        """Windows of nearly the same number of batches, at most 64 each."""
        num_windows = -(-self.batches_per_epoch // _WINDOW)
        self._window = -(-self.batches_per_epoch // num_windows)

    @property
    def batches_per_epoch(self) -> int:
        if self.training:
            return max(1, self._num_rows // self.batch_size)
        return -(-self._num_rows // self.batch_size)

    @property
    def _width(self) -> None:
        return None

    @property
    def padding_fraction(self) -> float:
        """The part of all places in the first epoch that is padding; computed on each call."""
        if self.training:
            epoch = tf.constant(0, tf.int64)
            windows = tf.range(-(-self.batches_per_epoch // self._window), dtype=tf.int64)
            rows = tf.concat([self._sorted_window(window, epoch) for window in windows], axis=0)
            lengths = tf.gather(self._lengths, rows).numpy()
        else:
            lengths = np.pad(self._lengths.numpy(), (0, -self._num_rows % self.batch_size))
        longest = lengths.reshape(-1, self.batch_size).max(axis=1)
        widths = self._fit(tf.constant(longest)).numpy()
        return 1 - float(lengths.sum()) / (self.batch_size * float(widths.sum()))

    def _fit(self, lengths: tf.Tensor) -> tf.Tensor:
        """The least of the widths that holds each length."""
        return tf.gather(self._widths, tf.searchsorted(self._widths, lengths))

    def _sorted_window(self, window: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """The rows of one window of an epoch, int64 [batches * B], from short to long."""
        start = window * self._window
        end = tf.minimum(start + self._window, self.batches_per_epoch)
        places = tf.range(start * self.batch_size, end * self.batch_size) % self._num_rows
        rows = shuffled(places, self._num_rows, self._epoch_seed(epoch, _ORDER))
        return tf.gather(rows, tf.argsort(tf.gather(self._lengths, rows), stable=True))

    def _training_rows(self, index: tf.Tensor) -> tf.Tensor:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        batch = shuffled(batch[None], self.batches_per_epoch, self._epoch_seed(epoch, _BATCH_ORDER))[0]
        rows = self._sorted_window(batch // self._window, epoch)
        start = batch % self._window * self.batch_size
        return rows[start : start + self.batch_size]

    def _batch(self, index: tf.Tensor) -> Batch:
        if self.training:
            rows = self._training_rows(index)
            lengths = tf.gather(self._lengths, rows)
        else:
            places = index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
            rows = tf.minimum(places, self._num_rows - 1)
            lengths = tf.where(places < self._num_rows, tf.gather(self._lengths, rows), 0)
        rows = tf.gather(self._rows, rows)
        steps = tf.range(self._fit(tf.reduce_max(lengths)[None])[0])  # int64 [T]
        starts = tf.gather(self._offsets, rows)[:, None]
        real = steps < lengths[:, None]
        learnt = real & (steps >= tf.cast(tf.gather(self._prefixes, rows), tf.int64)[:, None] - 1)
        last = tf.size(self._tokens, tf.int64) - 1
        inputs = tf.gather(self._tokens, tf.minimum(starts + steps, last))
        targets = tf.gather(self._tokens, tf.minimum(starts + steps + 1, last))
        return {
            "token_ids": tf.where(real, inputs, 0),
            "targets": tf.where(real, targets, 0),
            "loss_weights": tf.cast(learnt, tf.float32),
        }
