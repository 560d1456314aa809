"""WindowedBatches: length bucketing, the assignment of rows to batches and the widths of batches."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tflm.data.batching.batches import Batches, shuffled
from tflm.data.batching.mixed_order import MixedOrder
from tflm.data.store_arrays import Values
from tflm.data.token_store import StoreMixture

_ORDER, _BATCH_ORDER = 0, 1  # purposes of a seed
_WINDOW = 64  # batches whose rows are sorted together
_NUM_WIDTHS = 24  # distinct shapes, each of which traces a tf.function
_NUM_WIDTHS_OF_SEVERAL = 12  # widths per feature if several features vary
_SHORT = 8  # a feature of at most this length has a single width if another feature is longer


class WindowedBatches(Batches):
    """Length bucketing over windows of batches; a subclass fills the rows.

    In training, the shuffled rows of each window of 64 batches are sorted by length and split into batches, and all
    batches of the epoch are shuffled; rows after the last full batch (different in each epoch) are dropped. In
    evaluation, all rows are sorted and each is used once; the last batch is padded with rows. The rows of a mixture are
    drawn by weight before they are sorted; see `MixedOrder`. The length of a row is that of its longest feature.
    (Multi30k sentence pairs, in words, batches of 64: 11% padding with 13 shapes; sorted by the sum of both lengths 20%
    with 39 shapes.)

    The width of a feature in a batch is the length of its longest row, rounded up to one of a few widths that minimize
    the padding over the data: at most 24 if one feature varies in width, 12 each if several do. A feature of at most 8
    positions has a single width if another feature is longer.
    """

    def __init__(
        self,
        rows: np.ndarray,
        lengths: Mapping[str, np.ndarray],
        batch_size: int,
        seed: int,
        training: bool,
        mixture: StoreMixture | None = None,
    ) -> None:
        """Batches of selected rows.

        Args:
            rows: int64 [N], N >= 1: row numbers in the store, ascending.
            lengths: lengths of each ragged feature, int64 [N].
            batch_size: int, B.
            seed: int, seed of the order of every epoch.
            training: bool, endless and shuffled, or one pass.
            mixture: the sources of the store, if there are several.
        """
        super().__init__(batch_size, seed, training)
        self._order: MixedOrder | None = None
        if training and mixture is not None:
            self._starts = np.searchsorted(rows, mixture.row_starts)
            self._order = MixedOrder(mixture, np.diff(self._starts), seed)
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

    def epochs(self, num_batches: int) -> dict[str, float]:
        return self._order.epochs(num_batches * self.batch_size) if self._order else {}

    @property
    def padding_fraction(self) -> float:
        """Fraction of padding in the first epoch; computed on each call."""
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
        """The smallest width of the feature for each length."""
        widths = self._widths[name]
        return tf.gather(widths, tf.searchsorted(widths, lengths))

    def _sorted_window(self, window: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
        """Row indices of one window of an epoch, sorted by length, int64 [batches * B]."""
        start = window * self._window
        end = tf.minimum(start + self._window, self.batches_per_epoch)
        places = tf.range(start * self.batch_size, end * self.batch_size)
        if self._order is None:
            rows = shuffled(places % self._num_rows, self._num_rows, self._epoch_seed(epoch, _ORDER))
        else:
            first = epoch * self.batches_per_epoch * self.batch_size
            source, _, row = self._order.draw(first + places)
            rows = tf.gather(self._starts, source) + row
        return tf.gather(rows, tf.argsort(tf.gather(self._longest, rows), stable=True))

    def _training_places(self, index: tf.Tensor) -> tf.Tensor:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        batch = shuffled(batch[None], self.batches_per_epoch, self._epoch_seed(epoch, _BATCH_ORDER))[0]
        places = self._sorted_window(batch // self._window, epoch)
        start = batch % self._window * self.batch_size
        return places[start : start + self.batch_size]

    def _places(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Row indices of batch `index`, int64 [B], and bool [B], False for rows that pad the batch."""
        if self.training:
            places = self._training_places(index)
            return places, tf.ones_like(places, tf.bool)
        places = index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return tf.minimum(places, self._num_rows - 1), places < self._num_rows

    def _real_places(self, name: str, places: tf.Tensor, is_row: tf.Tensor) -> tf.Tensor:
        """Padding mask of a feature, bool [B, T], True is real; T is the width of the batch."""
        lengths = tf.where(is_row, tf.gather(self._lengths[name], places), 0)
        width = self._fit(name, tf.reduce_max(lengths)[None])[0]
        return tf.range(width) < lengths[:, None]


def gather_values(values: Values, starts: tf.Tensor, real: tf.Tensor, padding: int) -> tf.Tensor:
    """Gathers rows from a flat array, filled up with `padding`.

    >>> gather_values(Values([[5, 6, 7, 8]]), starts=[2, 0], real=[[True, True], [True, False]], padding=0)
    [[7, 8], [5, 0]]

    Args:
        values: int32 [M], M >= 1, in one part or several.
        starts: int64 [B], index of the first value of each row.
        real: bool [B, T], padding mask; padding may extend beyond `values`.
        padding: int.
    Returns:
        int32 [B, T].
    """
    places = starts[:, None] + tf.range(tf.shape(real, tf.int64)[1])
    return tf.where(real, values.gather(tf.minimum(places, values.size - 1)), padding)


def _widths(lengths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Widths of each feature, int64 [K] ascending; at least 1, also for an empty feature."""
    longest = {name: max(1, int(values.max())) for name, values in lengths.items()}
    differing = [name for name in lengths if longest[name] > _SHORT] or list(lengths)
    num_widths = _NUM_WIDTHS if len(differing) == 1 else _NUM_WIDTHS_OF_SEVERAL
    return {
        name: choose_widths(np.maximum(values, 1), num_widths)
        if name in differing
        else np.array([longest[name]])
        for name, values in lengths.items()
    }


_MAX_CANDIDATES = 512


def choose_widths(lengths: np.ndarray, num_widths: int) -> np.ndarray:
    """At most `num_widths` widths that minimize the padding when each length is padded to the next width.

    An exact dynamic program: the cost of the candidates up to j with k + 1 widths is the minimum over i < j of the cost
    up to i with k widths plus (number of lengths between) * j. Lengths are first rounded up to at most 512 evenly
    spaced candidates.

    >>> choose_widths(np.array([1, 1, 1, 9, 10]), num_widths=2)
    array([ 1, 10])

    Args:
        lengths: int [N], all >= 1.
        num_widths: int, at least 1.
    Returns:
        int64 [K], ascending; K <= num_widths; the last is >= the maximum length.
    """
    step = -(-int(lengths.max()) // _MAX_CANDIDATES)
    candidates, counts = np.unique(-(-lengths // step) * step, return_counts=True)
    below = np.concatenate(
        [[0], np.cumsum(counts)]
    )  # below[j]: lengths raised to one of the first j candidates
    num_candidates = len(candidates)
    cost = np.full(num_candidates + 1, np.inf)
    cost[0] = 0
    previous = []
    for _ in range(min(num_widths, num_candidates)):
        # totals[i, j]: cost of the first i candidates, plus candidates i to j padded to candidate j
        totals = cost[:, None] + (below[None, 1:] - below[:, None]) * candidates[None, :]
        totals[np.arange(num_candidates + 1)[:, None] > np.arange(num_candidates)[None, :]] = np.inf
        previous.append(totals.argmin(axis=0))
        cost = np.concatenate([[np.inf], totals.min(axis=0)])
    widths, end = [], num_candidates
    for choice in reversed(previous):
        widths.append(candidates[end - 1])
        end = choice[end - 1]
    return np.array(sorted(widths), np.int64)
