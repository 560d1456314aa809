"""BucketedBatches: length bucketing for pairs of source and target in one row."""

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.data.batching.batches import Batch, next_token_spec
from tflm.data.batching.windowed import WindowedBatches, gather_values
from tflm.data.token_store import TokenStore
from tflm.errors import UserError


class BucketedBatches(WindowedBatches):
    """Rows of start + source + separator + target + end, with a loss on the tokens after the prefix.

    A row r of n tokens gives the inputs r[:-1] and the targets r[1:]. The loss weight is 1 for targets after the first
    `prefix_length` tokens, at positions prefix_length - 1 to n - 2, else 0. With prefix_length 3:

        row           1 5 4 7 2
        token_ids     1 5 4 7
        targets       5 4 7 2
        loss_weights  0 0 1 1

    See `WindowedBatches` for order and widths. Rows that pad the last evaluation batch have weight 0.
    """

    def __init__(
        self, store: TokenStore, batch_size: int, max_length: int, seed: int, training: bool
    ) -> None:
        """Args:
            store: with the features "token_ids" (ragged) and "prefix_length" (int32, one per row).
            batch_size: int, B.
            max_length: int, maximum T. Rows of more than max_length + 1 tokens are truncated (`num_cut` rows); rows
                without target tokens left are skipped (`num_left_out` rows).
            seed: int, seed of the order of every epoch.
            training: bool, endless and shuffled, or one pass.

        Raises:
            UserError: a feature is missing, or no row has target tokens.
        """
        if max_length < 1:
            raise UserError(f"max_length is {max_length}; it must be at least 1")
        lengths = store.lengths("token_ids")
        prefixes = store.values("prefix_length").astype(np.int64)
        self.num_cut = int((lengths > max_length + 1).sum())
        lengths = np.minimum(lengths, max_length + 1)
        kept = np.flatnonzero(lengths > np.maximum(prefixes, 1))
        self.num_left_out = len(lengths) - len(kept)
        self._report(len(lengths), max_length)
        inputs = {"token_ids": lengths[kept] - 1}  # one less than tokens
        super().__init__(kept, inputs, batch_size, seed, training, store.mixture)
        self._tokens, self._pad_id = store.flat("token_ids"), store.pad_id
        self._offsets = store.tensor("token_ids", "offsets")
        self._prefixes = store.tensor("prefix_length")

    def _report(self, num_rows: int, max_length: int) -> None:
        if self.num_left_out == num_rows:
            raise UserError(
                f"none of {num_rows} rows has a target token within max_length {max_length}; "
                f"raise max_length or shorten the sources"
            )
        if self.num_cut:
            logging.warning(
                "%d of %d rows are truncated to max_length %d", self.num_cut, num_rows, max_length
            )
        if self.num_left_out:
            logging.warning(
                "%d of %d rows have no target tokens and are skipped", self.num_left_out, num_rows
            )

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        return next_token_spec(self.batch_size, None)

    def _batch(self, index: tf.Tensor) -> Batch:
        places, is_row = self._places(index)
        real = self._real_places("token_ids", places, is_row)
        rows = tf.gather(self._rows, places)
        starts = tf.gather(self._offsets, rows)
        steps = tf.range(tf.shape(real)[1])
        learnt = real & (steps >= tf.gather(self._prefixes, rows)[:, None] - 1)
        return {
            "token_ids": gather_values(self._tokens, starts, real, self._pad_id),
            "targets": gather_values(self._tokens, starts + 1, real, self._pad_id),
            "loss_weights": tf.cast(learnt, tf.float32),
        }
