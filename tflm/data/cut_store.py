"""CutStore: a token store whose long rows are cut into several, so that nothing of a document is thrown away."""

import numpy as np
import tensorflow as tf

from tflm.data.store import TokenStore
from tflm.errors import UserError


class CutStore(TokenStore):
    """A view of a store with other row borders; the values stay where they are.

    A row of more than `longest` values becomes as few rows as hold it, of nearly equal length; an empty row
    becomes none. All ragged features are cut at the same places. With `longest` 3:

        5 6 7 8   9 9   (nothing)   ->   5 6   7 8   9 9

    Args:
        store: with ragged features alone, whose rows are equally long in all of them.
        longest: int, values in a row.
    Raises:
        UserError: the features do not fit together.
    """

    _borders: np.ndarray | None = None

    def __init__(self, store: TokenStore, longest: int) -> None:
        super().__init__(store.folder)
        first, *others = (store.offsets(name) for name in store.ragged)
        if len(store.features) > len(store.ragged) or any((first != other).any() for other in others):
            raise UserError(
                f"rows of the features {', '.join(store.features)} cannot be cut at the same places; each needs "
                "a value for every token."
            )
        self._borders = _cut(first, longest)
        self.num_rows = len(self._borders) - 1

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """As `TokenStore.tensor`; the new offsets are in memory."""
        if part != "offsets":
            return super().tensor(name, part)
        with tf.device("CPU:0"):
            return tf.constant(self.offsets(name))

    def _load(self, name: str, part: str) -> np.ndarray:
        if part == "offsets" and name in self.ragged and self._borders is not None:
            return self._borders
        return super()._load(name, part)


def _cut(offsets: np.ndarray, longest: int) -> np.ndarray:
    """int64 [new rows + 1].

    >>> _cut(np.array([0, 4, 6, 6]), 3)
    array([0, 2, 4, 6])
    """
    lengths = np.diff(offsets)
    parts = -(-lengths // longest)
    row = np.repeat(np.arange(len(lengths)), parts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    starts = offsets[row] + lengths[row] * number // parts[row]
    return np.append(starts, offsets[-1]).astype(np.int64)
