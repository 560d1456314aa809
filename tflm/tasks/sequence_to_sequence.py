"""Pairs with an encoder-decoder: the encoder reads the source, the decoder writes the target."""

from typing import Any

import tensorflow as tf

from tflm.data import Batches, RowBatches, TokenStore
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.tasks.features.rows import Cut, is_longer, join, keep_first, keep_last, whole
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.task import TEXT, Batch
from tflm.text import Tokenizer


class SequenceToSequence(GenerativeTask):
    """Sources end with the end token; targets are between a start and an end token (Sutskever et al., 2014).

    `serving_default` gives the target for a source `text`.

    Args:
        config: a `PairsConfig`.
        tokenizer, max_length, decoding: see `TextTask`.
    """

    compact_loss = True
    score_inputs = (TEXT, tf.TensorSpec([None], tf.string, "target"))

    def __init__(self, config: Any, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.r_drop = config, getattr(config, "r_drop", 0.0)
        self.label_smoothing, self.z_loss = config.label_smoothing, config.z_loss
        self.keeps_end = config.keep_source == "end"
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
            "token_ids": self._targets(examples["target"]).rows,
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
        return next_token_batch(batch, self.tokenizer.pad_id)

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The start token."""
        del max_new_tokens
        start = tf.fill([tf.size(text), 1], self.tokenizer.first_id)
        return whole(tf.RaggedTensor.from_tensor(start, row_splits_dtype=tf.int64))

    def sources(self, text: tf.Tensor) -> Cut:
        """The text, cut as in training, and the end token."""
        keep = keep_first if self.config.keep_source == "start" else keep_last
        rows, limit = self.tokenizer.tokenize(text), self.config.max_source_length
        return Cut(join(keep(rows, limit), self.tokenizer.end_id), is_longer(rows, limit))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """The target between its marks; the start is given."""
        targets = self._targets(inputs["target"])
        return targets, tf.ones([targets.rows.nrows()], tf.int32)

    def _targets(self, target: tf.Tensor) -> Cut:
        rows, limit = self.tokenizer.tokenize(target), self.config.max_target_length
        marked = join(self.tokenizer.first_id, keep_first(rows, limit), self.tokenizer.end_id)
        return Cut(marked, is_longer(rows, limit))


def next_token_batch(batch: Batch, pad_id: int) -> Batch:
    """Rows from start to end as inputs and targets; what is padding does not count.

    >>> next_token_batch({"token_ids": [[1, 5, 2, 0]]}, pad_id=0)
    {"token_ids": [[1, 5, 2]], "targets": [[5, 2, 0]], "loss_weights": [[1.0, 1.0, 0.0]]}

    Args:
        batch: `token_ids` int32 [B, T + 1], padded with `pad_id`; the rest is passed on.
        pad_id: int.
    """
    targets = batch["token_ids"][:, 1:]
    return {
        **batch,
        "token_ids": batch["token_ids"][:, :-1],
        "targets": targets,
        "loss_weights": tf.cast(tf.not_equal(targets, pad_id), tf.float32),
    }
