"""Views of token stores without a copy of the values: other row boundaries, or several stores as one."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tflm.data.store_arrays import Values, tensor_of
from tflm.data.token_store import StoreMixture, TokenStore
from tflm.errors import UserError


class JoinedStore(TokenStore):
    """Several stores with the same features, one after another. Training batches are drawn from them by weight;
    evaluation batches are one pass over all.

        token_ids 5 6 | 7   and   8 9   ->   token_ids 5 6 | 7 | 8 9

    Args:
        stores: name of each source to its store, at least one.
        weights: name to weight, above 0.
    Raises:
        UserError: their features or pad ids differ.
    """

    def __init__(self, stores: Mapping[str, TokenStore], weights: Mapping[str, float]) -> None:
        self._stores: Sequence[TokenStore] = list(stores.values())
        first = self._stores[0]
        for name, store in stores.items():
            if (store.features, store.ragged, store.pad_id) != (first.features, first.ragged, first.pad_id):
                raise UserError(
                    f"the stores of the sources {next(iter(stores))!r} and {name!r} do not have the same features: "
                    f"{', '.join(first.features)}; {', '.join(store.features)}"
                )
        self.folder, self.features, self.ragged, self.pad_id = (
            first.folder.parent,
            first.features,
            first.ragged,
            first.pad_id,
        )
        self.fingerprint = " ".join(store.fingerprint for store in self._stores)
        self.num_rows = sum(store.num_rows for store in self._stores)
        self.masked = dict(sum((Counter(store.masked) for store in self._stores), Counter()))
        total = sum(weights.values())
        self.mixture = StoreMixture(
            tuple(stores),
            tuple(weights[name] / total for name in stores),
            _starts([store.num_rows for store in self._stores]),
            {
                name: _starts([int(store.offsets(name)[-1]) for store in self._stores])
                for name in first.ragged
            },
        )

    def _load(self, name: str, part: str) -> np.ndarray:
        arrays = [store._load(name, part) for store in self._stores]
        if part == "offsets":
            assert self.mixture is not None
            starts = self.mixture.value_starts[name]
            moved = [array[:-1] + start for array, start in zip(arrays, starts)]
            return np.append(np.concatenate(moved), starts[-1])
        return np.concatenate(arrays)

    def _shards(self, name: str, part: str) -> list[np.ndarray]:
        if part == "offsets":
            return [self._load(name, part)]
        return [shard for store in self._stores for shard in store._shards(name, part)]


def _starts(sizes: Sequence[int]) -> np.ndarray:
    """
    >>> _starts([2, 3])
    array([0, 2, 5])
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(sizes, np.int64))])


class StoreView(TokenStore):
    """Base class of views: a token store with its own offsets in memory.

    Args:
        store: a token store.
    """

    _offsets: np.ndarray | None = None

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.folder, self.fingerprint, self.pad_id = store.folder, store.fingerprint, store.pad_id
        self.num_rows, self.features, self.ragged = store.num_rows, store.features, store.ragged
        self.mixture, self.masked = store.mixture, store.masked

    def set_offsets(self, offsets: np.ndarray, row_starts: np.ndarray | None = None) -> None:
        """Replaces the row boundaries of the ragged features.

        Args:
            offsets: int64 [num_rows + 1].
            row_starts: of the sources of a joined store, int64 [P + 1].
        """
        self._offsets = offsets
        self.num_rows = len(offsets) - 1
        if self.mixture is not None and row_starts is not None:
            self.mixture = dataclasses.replace(self.mixture, row_starts=row_starts)

    def tensor(self, name: str, part: str = "values") -> tf.Tensor:
        """See `TokenStore.tensor`; offsets are copied."""
        if part != "offsets":
            return super().tensor(name, part)
        with tf.device("CPU:0"):
            return tf.constant(self.offsets(name))

    def flat(self, name: str) -> Values:
        """See `TokenStore.flat`."""
        return Values([tensor_of(shard) for shard in self._store._shards(name, "values")])

    def _load(self, name: str, part: str) -> np.ndarray:
        if name not in self.features:
            raise self.missing(name, part)
        if part == "offsets" and name in self.ragged and self._offsets is not None:
            return self._offsets
        return self._store._load(name, part)


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
        offsets = _cut(first, longest)
        starts = None
        if store.mixture is not None:
            starts = np.searchsorted(offsets, store.mixture.value_starts[next(iter(store.ragged))])
        self.set_offsets(offsets, starts)


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
        starts = None if store.mixture is None else store.mixture.value_starts[lengths]
        self.set_offsets(np.concatenate([np.zeros(1, np.int64), np.cumsum(row_lengths)]), starts)


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
