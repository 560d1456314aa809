"""PackedBatches: documents joined into one stream and cut into blocks, for causal language models."""

import tensorflow as tf

from tflm.data.batches import Batch, Batches, next_token_spec, shuffled
from tflm.data.store import TokenStore
from tflm.errors import UserError

_ORDER, _PHASE = 0, 1  # purposes of a seed


class PackedBatches(Batches):
    """Blocks of `block_length` tokens from the joined documents of a store, with no padding in training.

    Each document must end with end_id already (the encode_fn of build_store adds it). For the stream
    5 6 2 7 8 9 2 and block_length 3, evaluation has these blocks, so that each token but the first is
    predicted exactly once:

        token_ids  5 6 2   7 8 9
        targets    6 2 7   8 9 2

    The last block is filled up with weight 0, and the last batch with empty rows. In training the stream is a
    circle: each epoch starts at another, random token, so block borders differ from epoch to epoch; the
    blocks are shuffled, and what is left over after the last whole batch (other tokens each time) is not
    used. If there are fewer blocks than rows in a batch, blocks repeat within the batch.
    """

    def __init__(
        self, store: TokenStore, block_length: int, batch_size: int, seed: int, training: bool
    ) -> None:
        """Args:
            store: with the ragged feature "token_ids".
            block_length: T.
            batch_size: B.
            seed: decides the order and the block borders of every epoch.
            training: endless and shuffled, or one pass in order.

        Raises:
            UserError: the store is shorter than one block (training), or has fewer than two tokens.
        """
        super().__init__(batch_size, seed, training)
        if block_length < 1:
            raise UserError(f"block_length is {block_length}; it must be at least 1")
        self.block_length = block_length
        self._tokens = store.tensor("token_ids")
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
            "token_ids": tf.where(has_next, tokens[:, :-1], 0),
            "targets": tf.where(has_next, tokens[:, 1:], 0),
            "loss_weights": tf.cast(has_next, tf.float32),
        }

    def _eval_starts(self, index: tf.Tensor) -> tf.Tensor:
        """The first token of each row's block; a row past the last block starts past the last token."""
        return (index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)) * self.block_length

    def _training_starts(self, index: tf.Tensor) -> tf.Tensor:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        rows = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        blocks = shuffled(rows % self._num_blocks, self._num_blocks, self._epoch_seed(epoch, _ORDER))
        seed = self._epoch_seed(epoch, _PHASE)
        phase = tf.random.stateless_uniform([], seed, maxval=self._num_tokens, dtype=tf.int64)
        return phase + blocks * self.block_length
