"""Pairs: write a target for a source, with a decoder alone. Chat, summarization, and the like."""

import dataclasses
from typing import Any

import tensorflow as tf

from tflm.config import option
from tflm.data import Batches, BucketedBatches, TokenStore
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import TransformerEncoderDecoderConfig, model_class
from tflm.tasks.columns import PAIR, Columns
from tflm.tasks.features.rows import Cut, is_longer, join, keep_first, keep_last
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.registry import check_measure, register_task
from tflm.tasks.sequence_to_sequence import SequenceToSequence
from tflm.tasks.task import Task, TaskConfig, TaskInputs, TaskReport
from tflm.tasks.task_recipes import num_steps, task_recipe
from tflm.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class PairsConfig(TaskConfig):
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
    z_loss: float = option(0.0)
    """Weight of the squared log of the softmax's denominator in the training loss (Chowdhery et al., 2022, section 5);
    1e-4 is usual."""
    r_drop: float = option(0.0)
    """R-Drop (Liang et al., 2021): each batch is computed twice in training, under two dropout masks, and this times
    the divergence between the two predictions is added to the loss; 1 to 5 are usual. Twice the time of a step."""
    measure: str = "rouge"
    """Metric of `tflm evaluate`: rouge, bleu (with chrF), or another registered metric."""

    def __post_init__(self) -> None:
        if self.keep_source not in ("start", "end"):
            raise ValueError(f"keep_source is start or end; got {self.keep_source!r}.")
        check_measure(self.measure)
        if self.r_drop < 0.0:
            raise ValueError(f"r_drop is not negative; got {self.r_drop}.")
        for field in ("max_source_length", "max_target_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")


@register_task("pairs")
class Pairs(GenerativeTask):
    """Rows of start, source, separator, target, end (Liu et al., 2018, section 4.2.3); the target counts.

    `serving_default` gives the target for a source `text`.
    """

    config_class = PairsConfig
    architectures = ("decoder", "encoder-decoder")
    columns = Columns(PAIR)
    augmented = ("source",)
    loss_covers_text = True

    compact_loss = True
    score_inputs = (tf.TensorSpec([None], tf.string, "text"), tf.TensorSpec([None], tf.string, "target"))

    def __init__(
        self, config: PairsConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.r_drop = config, config.r_drop
        self.label_smoothing, self.z_loss = config.label_smoothing, config.z_loss
        self.keeps_end = config.keep_source == "end"
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

    @classmethod
    def create(cls, config: PairsConfig, inputs: TaskInputs) -> Task:
        """With an encoder, the source is what it reads: `SequenceToSequence`."""
        if model_class(inputs.model).architecture == "encoder-decoder":
            return SequenceToSequence(config, inputs.tokenizer, inputs.model.max_length, inputs.decoding)
        return super().create(config, inputs)

    @classmethod
    def report(cls, config: PairsConfig) -> TaskReport:
        """What is generated for the sources, next to the targets."""
        del config
        return TaskReport("texts", "serving_default", PAIR, beam_search=True)

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """`{"source": ["ab"], "target": ["c"]}` to `{"token_ids": [[start, a, b, separator, c, end]],
        "prefix_length": [4]}`."""
        rows, prefix_length = self._rows(examples["source"], examples["target"])
        return {"token_ids": rows.rows, "prefix_length": prefix_length}

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

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """The row of the pair; all up to the separator is given."""
        return self._rows(inputs["text"], inputs["target"])

    def _rows(self, source: tf.Tensor, target: tf.Tensor) -> tuple[Cut, tf.Tensor]:
        prompts, source_cut = self.prompts(source, tf.zeros([], tf.int32))
        targets, limit = self.tokenizer.tokenize(target), self.config.max_target_length
        rows = join(prompts, keep_first(targets, limit), self.tokenizer.end_id)
        return Cut(rows, source_cut | is_longer(targets, limit)), tf.cast(prompts.row_lengths(), tf.int32)


@task_recipe(Pairs)
def pairs(config: Any, num_examples: int) -> Any:
    """Any text for a text."""
    return _encoder_decoder(config, num_examples, max_source_length=62, measure="rouge")


@task_recipe(Pairs)
def translation(config: Any, num_examples: int) -> Any:
    """A text in another language."""
    return _encoder_decoder(config, num_examples, max_source_length=62, measure="bleu")


@task_recipe(Pairs)
def summarization(config: Any, num_examples: int) -> Any:
    """A short text for a long one."""
    return _encoder_decoder(config, num_examples, max_source_length=256, measure="rouge")


def _encoder_decoder(config: Any, num_examples: int, max_source_length: int, measure: str) -> Any:
    task = PairsConfig(
        max_source_length=max_source_length, max_target_length=62, label_smoothing=0.1, measure=measure
    )
    model = TransformerEncoderDecoderConfig(
        num_layers=3,
        num_decoder_layers=2,
        hidden_dim=160,
        num_heads=5,
        intermediate_dim=480,
        max_length=max_source_length + 2,
        activation="relu_squared",
        qk_norm=True,
        dropout=0.2,
    )
    training = dataclasses.replace(
        config.training,
        num_steps=num_steps(num_examples, epochs=15, least=500, most=7000),
        optimizer="muon",
        peak_learning_rate=4e-3,
    )
    return dataclasses.replace(config, task=task, model=model, training=training)
