"""Language modelling: predict each token of a text from those before it; continue a text."""

import dataclasses
import time
from typing import Any

import tensorflow as tf

from tflm.config import option
from tflm.data import Batches, PackedBatches, TokenStore
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import LanguageModel, ModelConfig, TransformerDecoderConfig, model_class
from tflm.tasks.columns import Columns
from tflm.tasks.features.ngram_counts import count_ngrams
from tflm.tasks.features.rows import Cut, is_longer, join, keep_last, whole
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.registry import register_task
from tflm.tasks.task import Batch, TaskConfig, TaskReport
from tflm.tasks.task_recipes import task_recipe
from tflm.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class LanguageModelingConfig(TaskConfig):
    """Settings of `LanguageModeling`."""

    kind: str = "language_modeling"
    mark_documents: bool = True
    """Each document is enclosed by a start and an end token, and generation stops at its end. False for one
    continuous text, such as a book."""
    separate_documents: bool = False
    """If several documents are packed in one block, each sees itself alone, and its positions count from its own
    beginning. For Transformers."""
    z_loss: float = option(0.0)
    """Weight of the squared log of the softmax's denominator in the training loss (Chowdhery et al., 2022, section 5);
    1e-4 is usual."""

    def __post_init__(self) -> None:
        if self.separate_documents and not self.mark_documents:
            raise ValueError("separate_documents finds documents by their marks: it needs mark_documents.")


@register_task("language_modeling")
class LanguageModeling(GenerativeTask):
    """The documents joined and cut into blocks of `max_length`; every token counts.

    `serving_default` gives the continuation of `text`, without the text itself.
    """

    config_class = LanguageModelingConfig
    architectures = ("decoder",)
    columns = Columns(("text",))
    loss_covers_text = True
    keeps_end = True

    def __init__(
        self, config: LanguageModelingConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config, self.z_loss = config, config.z_loss

    @classmethod
    def check_model(cls, config: LanguageModelingConfig, model: ModelConfig) -> None:  # type: ignore[override]
        """A decoder; one that keeps documents apart where that is asked for."""
        super().check_model(config, model)
        if config.separate_documents and "document_ids" not in model_class(model).features:
            raise UserError(
                "task.separate_documents is for Transformers: an LSTM reads a block from one end to the other. "
                "Leave it false."
            )

    @classmethod
    def report(cls, config: LanguageModelingConfig) -> TaskReport:
        """The perplexity of each text."""
        del config
        return TaskReport("document_losses", "score", ("text",), baseline="ngram")

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """`{"text": ["ab"]}` to `{"token_ids": [[start, a, b, end]]}`."""
        rows = self.tokenizer.tokenize(examples["text"])
        return {"token_ids": self._marked(rows)}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Blocks of `max_length` tokens."""
        return PackedBatches(store, self.max_length, batch_size, seed, training)

    def start(self, model: Any, store: TokenStore) -> str:
        """Counts the n-grams of the training side, for a model that reads them."""
        layer, begin = getattr(model, "ngram_embedding", None), time.perf_counter()
        if layer is None:
            return ""
        found = count_ngrams(
            store.values("token_ids"),
            store.offsets("token_ids"),
            layer.contexts,
            layer.cells,
            layer.num_candidates,
        )
        layer.table.assign(found.table)
        return (
            f"n-grams: {found.num_ngrams:,} after {', '.join(map(str, layer.contexts))} tokens counted in "
            f"{time.perf_counter() - begin:.0f} s; {found.num_kept:,} are kept, the most frequent ones, in "
            f"{found.table.nbytes / 1e6:.1f} MB."
        )

    def features(self, batch: Batch) -> dict[str, tf.Tensor]:
        """`document_ids`, where documents are kept apart: the number of start tokens so far, or, in a vocabulary
        without one, of end tokens before."""
        if not self.config.separate_documents:
            return {}
        tokenizer, has_start = self.tokenizer, self.tokenizer.start_id is not None
        marks = tf.equal(batch["token_ids"], tokenizer.start_id if has_start else tokenizer.end_id)
        return {"document_ids": tf.cumsum(tf.cast(marks, tf.int32), axis=1, exclusive=not has_start)}

    def training_features(self, model: LanguageModel, batch: Batch) -> dict[str, tf.Tensor]:
        """`next_ids`, for a model that reads counted n-grams: those of the batch are among them."""
        return {} if getattr(model, "ngram_embedding", None) is None else {"next_ids": batch["targets"]}

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The text, cut at its beginning where prompt and continuation would not fit; half the room at least."""
        room = tf.maximum(self.max_length - max_new_tokens, self.max_length // 2)
        if self.config.mark_documents:
            rows = self.tokenizer.tokenize(text)
            kept = self._begun(keep_last(rows, room - 1))
            return Cut(kept, is_longer(rows, room - 1))
        # A continuous text has no beginning that the model knows; a new line is the nearest to one.
        rows = self.tokenizer.tokenize(tf.where(tf.equal(text, ""), "\n", text))
        # Where nothing is left of a text, as of spaces in wordpieces, only the start token remains.
        lengths = tf.minimum(tf.cast(rows.row_lengths(), tf.int32), room)
        kept = keep_last(self._begun(rows), tf.maximum(lengths, 1))
        return Cut(kept, is_longer(rows, room))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """The text between its marks, or alone; its first token is given."""
        rows = self._marked(self.tokenizer.tokenize(inputs["text"]))
        return whole(rows), tf.ones([rows.nrows()], tf.int32)

    def _begun(self, rows: tf.RaggedTensor) -> tf.RaggedTensor:
        """Rows that begin with the start token. In a vocabulary without one, empty rows begin with the end token, the
        end of the text before."""
        if self.tokenizer.start_id is not None:
            return join(self.tokenizer.start_id, rows)
        is_empty = tf.cast(tf.equal(rows.row_lengths(), 0), tf.int64)
        ends = tf.fill([tf.reduce_sum(is_empty)], self.tokenizer.end_id)
        return join(tf.RaggedTensor.from_row_lengths(ends, is_empty, validate=False), rows)

    def _marked(self, rows: tf.RaggedTensor) -> tf.RaggedTensor:
        if not self.config.mark_documents:
            return rows
        return join(self.tokenizer.start_id, rows, self.tokenizer.end_id)


@task_recipe(LanguageModeling)
def language_modeling(config: Any, num_examples: int) -> Any:
    """The continuation of a text."""
    del num_examples
    training = dataclasses.replace(
        config.training, num_steps=1500, global_batch_size=32, optimizer="muon", peak_learning_rate=1.5e-2
    )
    return dataclasses.replace(
        config,
        task=LanguageModelingConfig(),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=4, max_length=128, qk_norm=True
        ),
        training=training,
        decoding=DecodingConfig(temperature=0.7, top_p=0.9, max_new_tokens=80),
    )
