"""Pairs: write a target for a source, with a decoder alone. Chat, summarization, and the like."""

import dataclasses

import tensorflow as tf

from tflm.data import Batches, BucketedBatches, TokenStore
from tflm.decoding import DecodingConfig
from tflm.errors import UserError
from tflm.tasks.rows import Cut, is_longer, join, keep_first, keep_last
from tflm.tasks.text_task import TextTask
from tflm.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class PairsConfig:
    """Settings of `Pairs`."""

    kind: str = "pairs"
    max_source_length: int = 128
    """Tokens of a source that are read."""
    max_target_length: int = 64
    """Tokens of a target that are learned."""
    keep_source: str = "start"
    """Which side of a longer source is kept: start or end."""
    label_smoothing: float = 0.0
    """How much of a target's weight is spread over the vocabulary in training (Szegedy et al., 2016)."""
    measure: str = "rouge"
    """What `apps.evaluate` compares texts by: rouge, or bleu (with chrF)."""

    def __post_init__(self) -> None:
        if self.keep_source not in ("start", "end"):
            raise ValueError(f"keep_source is start or end; got {self.keep_source!r}.")
        if self.measure not in ("rouge", "bleu"):
            raise ValueError(f"measure is rouge or bleu; got {self.measure!r}.")
        for field in ("max_source_length", "max_target_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")


class Pairs(TextTask):
    """Rows of start, source, separator, target, end (Liu et al., 2018, section 4.2.3); the target counts.

    `serving_default` gives the target for a source `text`.
    """

    compact_loss = True
    score_inputs = (tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.string, "target"))

    def __init__(
        self, config: PairsConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.label_smoothing = config, config.label_smoothing
        needed = config.max_source_length + config.max_target_length + 2
        if needed > max_length:
            raise UserError(
                f"model.max_length={max_length} is less than task.max_source_length + task.max_target_length + 2 "
                f"= {needed}. Raise the first or lower the others."
            )
        if "separator" not in tokenizer.special_tokens:
            raise UserError(
                "pairs need a tokenizer with the special token 'separator'; it has "
                f"{list(tokenizer.special_tokens)}. Train one with special_tokens=('separator',)."
            )

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """`{"source": ["ab"], "target": ["c"]}` to `{"token_ids": [[start, a, b, separator, c, end]],
        "prefix_length": [4]}`."""
        rows, prefix_length = self._rows(examples["source"], examples["target"])
        return {"token_ids": rows, "prefix_length": prefix_length}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Rows of like length together."""
        return BucketedBatches(store, batch_size, self.max_length, seed, training)

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """start, source, separator; a longer source is cut as in training."""
        del max_new_tokens
        keep = keep_first if self.config.keep_source == "start" else keep_last
        rows, limit = self.tokenizer.tokenize(text), self.config.max_source_length
        separator = self.tokenizer.special_tokens["separator"]
        return Cut(join(self.tokenizer.start_id, keep(rows, limit), separator), is_longer(rows, limit))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """The row of the pair; all up to the separator is given."""
        return self._rows(inputs["text"], inputs["target"])

    def _rows(self, source: tf.Tensor, target: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        prompts = self.prompts(source, tf.zeros([], tf.int32)).rows
        targets = keep_first(self.tokenizer.tokenize(target), self.config.max_target_length)
        rows = join(prompts, targets, self.tokenizer.end_id)
        return rows, tf.cast(prompts.row_lengths(), tf.int32)
