"""Pairs with an encoder-decoder: the encoder reads the source, the decoder writes the target."""

import tensorflow as tf

from tflm.data import Batches, RowBatches, TokenStore
from tflm.decoding import DecodingConfig
from tflm.errors import UserError
from tflm.tasks.pairs import PairsConfig
from tflm.tasks.rows import Cut, is_longer, join, keep_first, keep_last, whole
from tflm.tasks.task import TEXT, Batch
from tflm.tasks.text_task import TextTask
from tflm.text import Tokenizer


class SequenceToSequence(TextTask):
    """Sources end with the end token; targets stand between a start and an end (Sutskever et al., 2014).

    `serving_default` gives the target for a source `text`.
    """

    compact_loss = True
    score_inputs = (TEXT, tf.TensorSpec([None], tf.string, "target"))

    def __init__(
        self, config: PairsConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.label_smoothing = config, config.label_smoothing
        longest = max(config.max_source_length, config.max_target_length) + 1
        if longest > max_length:
            raise UserError(
                f"model.max_length={max_length} is less than {longest}, the longer of task.max_source_length and "
                "task.max_target_length with its end token. Raise the first or lower the other."
            )

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """`{"source": ["ab"], "target": ["c"]}` to `{"source_ids": [[a, b, end]], "token_ids": [[start, c,
        end]]}`."""
        return {
            "source_ids": self.sources(examples["source"]).rows,
            "token_ids": self._targets(examples["target"]),
        }

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Pairs of like length together."""
        lengths = {
            "source_ids": self.config.max_source_length + 1,
            "token_ids": self.config.max_target_length + 2,
        }
        return RowBatches(store, batch_size, lengths, seed, training)

    def predicted(self, batch: Batch) -> Batch:
        """Every token of the target, and its end."""
        return next_token_batch(batch)

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The start token."""
        del max_new_tokens
        start = tf.fill([tf.size(text), 1], self.tokenizer.start_id)
        return whole(tf.RaggedTensor.from_tensor(start, row_splits_dtype=tf.int64))

    def sources(self, text: tf.Tensor) -> Cut:
        """The text, cut as in training, and the end token."""
        keep = keep_first if self.config.keep_source == "start" else keep_last
        rows, limit = self.tokenizer.tokenize(text), self.config.max_source_length
        return Cut(join(keep(rows, limit), self.tokenizer.end_id), is_longer(rows, limit))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """The target between its marks; the start is given."""
        rows = self._targets(inputs["target"])
        return rows, tf.ones([rows.nrows()], tf.int32)

    def _targets(self, target: tf.Tensor) -> tf.RaggedTensor:
        rows = keep_first(self.tokenizer.tokenize(target), self.config.max_target_length)
        return join(self.tokenizer.start_id, rows, self.tokenizer.end_id)


def next_token_batch(batch: Batch) -> Batch:
    """Rows from start to end as inputs and targets; what is padding does not count.

    >>> next_token_batch({"token_ids": [[1, 5, 2, 0]]})
    {"token_ids": [[1, 5, 2]], "targets": [[5, 2, 0]], "loss_weights": [[1.0, 1.0, 0.0]]}

    Args:
        batch: `token_ids` int32 [B, T + 1], padded with 0; the rest is passed on.
    """
    targets = batch["token_ids"][:, 1:]
    return {
        **batch,
        "token_ids": batch["token_ids"][:, :-1],
        "targets": targets,
        "loss_weights": tf.cast(tf.not_equal(targets, 0), tf.float32),
    }
