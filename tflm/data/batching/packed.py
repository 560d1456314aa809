"""PackedBatches: documents concatenated into one stream and split into blocks, for causal language models."""

import numpy as np
import tensorflow as tf

from tflm.data.batching.batches import Batch, Batches, next_token_spec, shuffled
from tflm.data.batching.mixed_order import MixedOrder
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
    batch, blocks repeat within the batch. In training on a mixture, each source is a stream of its own, and the blocks
    of a batch are drawn by weight; see `MixedOrder`.
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
        self._tokens, self._pad_id = store.flat("token_ids"), store.pad_id
        self._num_tokens = self._tokens.size
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
        self._order: MixedOrder | None = None
        if training and store.mixture is not None:
            self._starts = store.mixture.value_starts["token_ids"]
            sizes = np.diff(self._starts)
            blocks = np.where(sizes > block_length, sizes // block_length, 0)
            self._order = MixedOrder(store.mixture, blocks, seed)
            self._num_blocks = int(blocks.sum())

    @property
    def batches_per_epoch(self) -> int:
        if self.training:
            return max(1, self._num_blocks // self.batch_size)
        return -(-self._num_blocks // self.batch_size)

    def epochs(self, num_batches: int) -> dict[str, float]:
        return self._order.epochs(num_batches * self.batch_size) if self._order else {}

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        return next_token_spec(self.batch_size, self.block_length)

    def _batch(self, index: tf.Tensor) -> Batch:
        steps = tf.range(self.block_length + 1, dtype=tf.int64)
        if not self.training:
            places = self._eval_starts(index)[:, None] + steps
            real = places < self._num_tokens
            places = tf.minimum(places, self._num_tokens - 1)
        else:
            if self._order is None:
                places = (self._training_starts(index)[:, None] + steps) % self._num_tokens
            else:
                first, starts, sizes = self._mixed_starts(index, self._order)
                places = first[:, None] + (starts[:, None] + steps) % sizes[:, None]
            real = tf.ones_like(places, tf.bool)
        tokens = self._tokens.gather(places)
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

    def _mixed_starts(self, index: tf.Tensor, order: MixedOrder) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of each row the first token of its source, the start of its block in that source, and the number of tokens
        of the source; int64 [B] each."""
        rows = index * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        source, epoch, block = order.draw(rows)
        sizes = tf.gather(np.diff(self._starts), source)
        phase = order.random(sizes, source, epoch)
        return tf.gather(self._starts, source), phase + block * self.block_length, sizes
