"""SplitStore: a token store whose examples hold several rows each, seen row by row."""

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from tflm.data.store import TokenStore
from tflm.errors import UserError


class SplitStore(TokenStore):
    """A view of a store with other row borders; the values stay where they are.

    What an encoder gives for an example is one row of the store, though the example may be more than one row to train
    on: the windows of a long text. So the encoder joins them, and says beside them how long each is. With `lengths`
    "row_lengths", `joined` ("token_ids",) and `columns` ("starts",), two examples, the first of two rows:

        token_ids 5 6 7 8 | 9 9      row_lengths 3 1 | 2      starts 0 4 | 1
        ->  token_ids 5 6 7 | 8 | 9 9    starts 0, 4, 1 (dense)

    Args:
        store: what the encoder filled.
        lengths: a ragged feature, how long each row of an example is.
        joined: ragged features, the rows one after the other.
        columns: ragged features with one value a row; dense here. All other features are left out.
    Raises:
        UserError: a feature is missing, or the features do not fit together.
    """

    _borders: np.ndarray | None = None

    def __init__(
        self, store: TokenStore, lengths: str, joined: Collection[str], columns: Collection[str]
    ) -> None:
        super().__init__(store.folder)
        row_lengths = np.asarray(self.values(lengths), np.int64)
        sizes = {name: (len(self.values(name)), int(row_lengths.sum())) for name in joined}
        sizes |= {name: (len(self.values(name)), len(row_lengths)) for name in columns}
        for name, (size, wanted) in sizes.items():
            if size != wanted:
                raise UserError(
                    f"the feature {name!r} has {size} values; {lengths!r} asks for {wanted}. Build the store again."
                )
        self._borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(row_lengths)])
        self.num_rows = len(row_lengths)
        self.features, self.ragged = (*joined, *columns), frozenset(joined)

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
