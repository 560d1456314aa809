"""RowBatches: one example per row, each ragged feature padded separately; for classification and encoder-decoders."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data.batching.batches import Batch
from tflm.data.batching.windowed import WindowedBatches, gather_values
from tflm.data.store_arrays import Values
from tflm.data.token_store import TokenStore
from tflm.errors import UserError


class RowBatches(WindowedBatches):
    """The rows of a store, one example each; see `WindowedBatches` for order and widths.

    Two rows of the ragged features source_ids and token_ids, with max_lengths of 3 and 9, and the dense feature
    prefix_length, in an evaluation with batch_size 3:

        row 0: source_ids 5 6 7 8, token_ids 1 9 2, prefix_length 4     row 1: 5, 1 2, 7

        source_ids  5 0 0   token_ids  1 2 0   prefix_length  7   row_weights  1
                    5 6 7              1 9 2                  4                1
                    0 0 0              0 0 0                  0                0

    A batch has int32 [B, T] for each ragged feature, filled up on the right with the pad id of
    the store or 0 (see `TokenStore.padding`), T of each feature; int32 [B] for each
    dense feature; and `row_weights` float32 [B], 0 for rows that pad the last evaluation batch. Empty rows are kept.
    """

    def __init__(
        self, store: TokenStore, batch_size: int, max_lengths: Mapping[str, int], seed: int, training: bool
    ) -> None:
        """Args:
            store: a store; all of its dense features are used.
            batch_size: int, B.
            max_lengths: maximum T of each ragged feature; longer rows are truncated (`num_cut` rows).
            seed: int, seed of the order of every epoch.
            training: bool, endless and shuffled, or one pass.

        Raises:
            UserError: a feature is missing, or a size is less than 1.
        """
        lengths: dict[str, np.ndarray] = {}
        self.num_cut: dict[str, int] = {}
        for name, longest in max_lengths.items():
            if longest < 1:
                raise UserError(f"the max_length of {name} is {longest}; it must be at least 1")
            whole = store.lengths(name)
            self.num_cut[name] = int((whole > longest).sum())
            if self.num_cut[name]:
                logging.warning(
                    "%s: %d of %d rows are truncated to length %d",
                    name,
                    self.num_cut[name],
                    len(whole),
                    longest,
                )
            lengths[name] = np.minimum(whole, longest)
        super().__init__(np.arange(store.num_rows), lengths, batch_size, seed, training, store.mixture)
        with tf.device("CPU:0"):
            flat = {name: store.flat(name) for name in lengths}
            # `tf.gather` needs at least one value, also for an empty feature.
            self._values = {
                name: values if values.size else Values([tf.zeros([1], tf.int32)])
                for name, values in flat.items()
            }
        self._padding = {name: store.padding(name) for name in lengths}
        self._offsets = {name: store.tensor(name, "offsets") for name in lengths}
        self._dense = {name: store.tensor(name) for name in store.features if name not in store.ragged}

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        ragged = {name: tf.TensorSpec([self.batch_size, None], tf.int32) for name in self._values}
        dense = {name: tf.TensorSpec([self.batch_size], tf.int32) for name in self._dense}
        return ragged | dense | {"row_weights": tf.TensorSpec([self.batch_size], tf.float32)}

    def _batch(self, index: tf.Tensor) -> Batch:
        places, is_row = self._places(index)
        rows = tf.gather(self._rows, places)
        batch = {
            name: gather_values(
                values,
                tf.gather(self._offsets[name], rows),
                self._real_places(name, places, is_row),
                self._padding[name],
            )
            for name, values in self._values.items()
        }
        for name, values in self._dense.items():
            batch[name] = tf.where(is_row, tf.gather(values, rows), 0)
        return batch | {"row_weights": tf.cast(is_row, tf.float32)}
