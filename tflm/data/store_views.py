"""Views of a token store with different row boundaries, without a copy of the values."""

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from tflm.data.token_store import TokenStore
from tflm.errors import UserError


class StoreView(TokenStore):
    """Base class of views: a token store with its own offsets in memory.

    Args:
        store: a token store.
    """

    _offsets: np.ndarray | None = None

    def __init__(self, store: TokenStore) -> None:
        super().__init__(store.folder)

    def set_offsets(self, offsets: np.ndarray) -> None:
        """Replaces the row boundaries of the ragged features.

        Args:
            offsets: int64 [num_rows + 1].
        """
        self._offsets = offsets
        self.num_rows = len(offsets) - 1

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """See `TokenStore.tensor`; offsets are copied."""
        if part != "offsets":
            return super().tensor(name, part)
        with tf.device("CPU:0"):
            return tf.constant(self.offsets(name))

    def _load(self, name: str, part: str) -> np.ndarray:
        if part == "offsets" and name in self.ragged and self._offsets is not None:
            return self._offsets
        return super()._load(name, part)


class CutStore(StoreView):
    """Splits long rows into several, so that no part of a document is dropped.

    A row of more than `longest` values becomes the minimum number of rows, of nearly equal length; empty rows are
    removed. All ragged features are split at the same positions. With `longest` 3:

        5 6 7 8   9 9   (nothing)   ->   5 6   7 8   9 9

    Args:
        store: with ragged features only, all with the same row lengths.
        longest: int, maximum length of a row.
    Raises:
        UserError: a feature is dense, or row lengths differ between features.
    """

    def __init__(self, store: TokenStore, longest: int) -> None:
        super().__init__(store)
        first, *others = (store.offsets(name) for name in store.ragged)
        if len(store.features) > len(store.ragged) or any((first != other).any() for other in others):
            raise UserError(
                f"rows of the features {', '.join(store.features)} cannot be split at the same positions; each needs "
                "one value per token."
            )
        self.set_offsets(_cut(first, longest))


class SplitStore(StoreView):
    """Splits examples of several rows each, such as the windows of a long text, into single rows.

    A store has one row per example. For an example of several training rows, the encoder concatenates the rows and adds
    their lengths. With `lengths` "row_lengths", `joined` ("token_ids",) and `columns` ("starts",), two examples, the
    first of two rows:

        token_ids 5 6 7 8 | 9 9      row_lengths 3 1 | 2      starts 0 4 | 1
        ->  token_ids 5 6 7 | 8 | 9 9    starts 0, 4, 1 (dense)

    Args:
        store: a store with these features.
        lengths: name of a ragged feature, the row lengths of each example.
        joined: names of ragged features with concatenated rows.
        columns: names of ragged features with one value per row, which are dense in the view. Other features are
            dropped.
    Raises:
        UserError: a feature is missing, or its size does not match the row lengths.
    """

    def __init__(
        self, store: TokenStore, lengths: str, joined: Collection[str], columns: Collection[str]
    ) -> None:
        super().__init__(store)
        row_lengths = np.asarray(self.values(lengths), np.int64)
        sizes = {name: (len(self.values(name)), int(row_lengths.sum())) for name in joined}
        sizes |= {name: (len(self.values(name)), len(row_lengths)) for name in columns}
        for name, (size, wanted) in sizes.items():
            if size != wanted:
                raise UserError(
                    f"the feature {name!r} has {size} values; expected {wanted} according to {lengths!r}. Rebuild the "
                    "store."
                )
        self.features, self.ragged = (*joined, *columns), frozenset(joined)
        self.set_offsets(np.concatenate([np.zeros(1, np.int64), np.cumsum(row_lengths)]))


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
