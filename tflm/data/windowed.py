"""WindowedBatches: which rows stand in which batch, and how wide it is, so that there is little padding."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tflm.data.batches import Batches, shuffled
from tflm.data.widths import choose_widths

_ORDER, _BATCH_ORDER = 0, 1  # purposes of a seed
_WINDOW = 64  # batches whose rows are sorted together
_NUM_WIDTHS = 24  # distinct shapes, for which a tf.function is traced
_NUM_WIDTHS_OF_SEVERAL = 12  # of each feature, where several differ in width
_SHORT = 8  # a feature of at most so many places has one width beside longer ones


class WindowedBatches(Batches):
    """Rows of like length together; a subclass writes down what is in them.

    In training the shuffled rows of 64 batches are sorted by length and cut into batches, and all batches of
    the epoch shuffled; rows left over after the last whole batch (others each epoch) wait for another epoch.
    In evaluation all rows are sorted and each comes exactly once; the last batch is filled up. The length of a
    row is that of its longest feature. (Sentence pairs of Multi30k, in words, batches of 64: so 11% of all places
    are padding, in 13 shapes; sorted by the sum of both lengths it was 20%, in 39 shapes.)

    In a batch a feature is as wide as its longest row, raised to one of a few widths, which are chosen so that
    the lengths in the data need the least padding: at most 24 if one feature differs in width, 12 each if
    several do. Beside a longer feature, one of at most 8 places is always as wide as its longest row of all.
    """

    def __init__(
        self, rows: np.ndarray, lengths: Mapping[str, np.ndarray], batch_size: int, seed: int, training: bool
    ) -> None:
        """Batches of some rows.

        Args:
            rows: int64 [N], N >= 1: their numbers in the store.
            lengths: ragged feature -> int64 [N], its places in each of these rows.
            batch_size: B.
            seed: decides the order of every epoch.
            training: endless and shuffled, or one pass.
        """
        super().__init__(batch_size, seed, training)
        longest = np.maximum.reduce(list(lengths.values()))
        if not training:
            order = np.argsort(longest, kind="stable")
            rows, longest = rows[order], longest[order]
            lengths = {name: values[order] for name, values in lengths.items()}
        self._num_rows = len(rows)
        with tf.device("CPU:0"):
            self._rows = tf.constant(rows, tf.int64)
            self._longest = tf.constant(longest, tf.int64)
            self._lengths = {name: tf.constant(values, tf.int64) for name, values in lengths.items()}
            self._widths = {name: tf.constant(widths) for name, widths in _widths(lengths).items()}
        num_windows = -(-self.batches_per_epoch // _WINDOW)
        self._window = -(-self.batches_per_epoch // num_windows)  # windows of nearly equal size

    @property
    def batches_per_epoch(self) -> int:
        if self.training:
            return max(1, self._num_rows // self.batch_size)
        return -(-self._num_rows // self.batch_size)

    @property
    def padding_fraction(self) -> float:
        """The part of all places in the first epoch that is padding; computed on each call."""
        batches = self.batches_per_epoch
        if self.training:
            epoch = tf.constant(0, tf.int64)
            windows = tf.range(-(-batches // self._window), dtype=tf.int64)
            places = tf.concat([self._sorted_window(window, epoch) for window in windows], axis=0).numpy()
        else:
            places = np.arange(self._num_rows)
        filling = batches * self.batch_size - len(places)
        used = total = 0
        for name, all_lengths in self._lengths.items():
            lengths = np.pad(all_lengths.numpy()[places], (0, filling)).reshape(batches, self.batch_size)
            widths = self._fit(name, tf.constant(lengths.max(axis=1))).numpy()
            used += int(lengths.sum())
            total += self.batch_size * int(widths.sum())
        return 1 - used / total

    def _fit(self, name: str, lengths: tf.Tensor) -> tf.Tensor:
        """The least of a feature's widths that holds each length."""
        widths = self._widths[name]
        return tf.gather(widths, tf.searchsorted(widths, lengths))

    def _sorted_window(self, window: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """The rows of one window of an epoch, int64 [batches * B], from short to long."""
        start = window * self._window
        end = tf.minimum(start + self._window, self.batches_per_epoch)
        places = tf.range(start * self.batch_size, end * self.batch_size) % self._num_rows
        rows = shuffled(places, self._num_rows, self._epoch_seed(epoch, _ORDER))
        return tf.gather(rows, tf.argsort(tf.gather(self._longest, rows), stable=True))

    def _training_places(self, index: tf.Tensor) -> tf.Tensor:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        batch = shuffled(batch[None], self.batches_per_epoch, self._epoch_seed(epoch, _BATCH_ORDER))[0]
        places = self._sorted_window(batch // self._window, epoch)
        start = batch % self._window * self.batch_size
        return places[start : start + self.batch_size]

    def _places(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which of the N rows stand in batch `index`, int64 [B]; and bool [B], False where one only fills up."""
        if self.training:
            places = self._training_places(index)
            return places, tf.ones_like(places, tf.bool)
        places = index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return tf.minimum(places, self._num_rows - 1), places < self._num_rows

    def _real_places(self, name: str, places: tf.Tensor, is_row: tf.Tensor) -> tf.Tensor:
        """bool [B, T]: the places of a feature that hold something; T is the width that the batch needs."""
        lengths = tf.where(is_row, tf.gather(self._lengths[name], places), 0)
        width = self._fit(name, tf.reduce_max(lengths)[None])[0]
        return tf.range(width) < lengths[:, None]


def gather_values(values: tf.Tensor, starts: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Rows of a flat array, padded with 0.

    >>> gather_values([5, 6, 7, 8], starts=[2, 0], real=[[True, True], [True, False]])
    [[7, 8], [5, 0]]

    Args:
        values: int32 [M], M >= 1.
        starts: int64 [B], where each row begins in `values`.
        real: bool [B, T], False for padding; its places may lie beyond `values`.
    Returns:
        int32 [B, T].
    """
    places = starts[:, None] + tf.range(tf.shape(real, tf.int64)[1])
    return tf.where(real, tf.gather(values, tf.minimum(places, tf.size(values, tf.int64) - 1)), 0)


def _widths(lengths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The widths of each feature, int64 [K] rising; an empty feature has one place all the same."""
    longest = {name: max(1, int(values.max())) for name, values in lengths.items()}
    differing = [name for name in lengths if longest[name] > _SHORT] or list(lengths)
    num_widths = _NUM_WIDTHS if len(differing) == 1 else _NUM_WIDTHS_OF_SEVERAL
    return {
        name: choose_widths(np.maximum(values, 1), num_widths)
        if name in differing
        else np.array([longest[name]])
        for name, values in lengths.items()
    }
