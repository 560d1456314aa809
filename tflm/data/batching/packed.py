"""PackedBatches: documents concatenated into one stream and split into blocks, for causal language models."""

import tensorflow as tf

from tflm.data.batching.batches import Batch, Batches, next_token_spec, shuffled
from tflm.data.token_store import TokenStore
from tflm.errors import UserError

_ORDER, _PHASE = 0, 1  # purposes of a seed


class PackedBatches(Batches):
    """Blocks of `block_length` tokens from the concatenated documents of a store, without padding in training.

    Each document must already end with end_id (the encode_fn of build_store adds it). For the stream 5 6 2 7 8 9 2 and
    block_length 3, evaluation has these blocks, so that each token except the first is predicted exactly once:

        token_ids  5 6 2   7 8 9
        targets    6 2 7   8 9 2

    The last block is padded with weight 0, and the last batch with empty rows. In training, the stream is circular and
    each epoch starts at a random token, so block boundaries differ between epochs. Blocks are shuffled, and the
    remainder after the last full batch (different tokens in each epoch) is dropped. With fewer blocks than rows in a
    batch, blocks repeat within the batch.
    """

    def __init__(
        self, store: TokenStore, block_length: int, batch_size: int, seed: int, training: bool
    ) -> None:
        """Args:
            store: with the ragged feature "token_ids".
            block_length: int, T.
            batch_size: int, B.
            seed: int, seed of the order and the block boundaries of every epoch.
            training: bool, endless and shuffled, or one pass in order.

        Raises:
            UserError: the store is shorter than one block (training), or has fewer than two tokens.
        """
        super().__init__(batch_size, seed, training)
        if block_length < 1:
            raise UserError(f"block_length is {block_length}; it must be at least 1")
        self.block_length = block_length
        self._tokens, self._pad_id = store.tensor("token_ids"), store.pad_id
        self._num_tokens = int(self._tokens.shape[0])
        least = block_length + 1 if training else 2
        if self._num_tokens < least:
            raise UserError(
                f"the data has {self._num_tokens} tokens; block_length {block_length} needs {least}; "
                f"give more text or lower block_length"
            )
        if training:
            self._num_blocks = self._num_tokens // block_length
        else:
            self._num_blocks = -(-(self._num_tokens - 1) // block_length)

    @property
    def batches_per_epoch(self) -> int:
        if self.training:
            return max(1, self._num_blocks // self.batch_size)
        return -(-self._num_blocks // self.batch_size)

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        return next_token_spec(self.batch_size, self.block_length)

    def _batch(self, index: tf.Tensor) -> Batch:
        starts = self._training_starts(index) if self.training else self._eval_starts(index)
        places = starts[:, None] + tf.range(self.block_length + 1, dtype=tf.int64)
        if self.training:
            real = tf.ones_like(places, tf.bool)
            places = places % self._num_tokens
        else:
            real = places < self._num_tokens
            places = tf.minimum(places, self._num_tokens - 1)
        tokens = tf.gather(self._tokens, places)
        has_next = real[:, 1:]
        return {
            "token_ids": tf.where(has_next, tokens[:, :-1], self._pad_id),
            "targets": tf.where(has_next, tokens[:, 1:], self._pad_id),
            "loss_weights": tf.cast(has_next, tf.float32),
        }

    def _eval_starts(self, index: tf.Tensor) -> tf.Tensor:
        """Start of the block of each row, int64 [B]; beyond the last token for rows after the last block."""
        return (index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)) * self.block_length

    def _training_starts(self, index: tf.Tensor) -> tf.Tensor:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        rows = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        blocks = shuffled(rows % self._num_blocks, self._num_blocks, self._epoch_seed(epoch, _ORDER))
        seed = self._epoch_seed(epoch, _PHASE)
        phase = tf.random.stateless_uniform([], seed, maxval=self._num_tokens, dtype=tf.int64)
        return phase + blocks * self.block_length
