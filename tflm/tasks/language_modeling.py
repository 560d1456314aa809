"""Language modelling: predict each token of a text from those before it; continue a text."""

import dataclasses

import tensorflow as tf

from tflm.data import Batches, PackedBatches, TokenStore
from tflm.decoding import DecodingConfig
from tflm.tasks.rows import Cut, is_longer, join, keep_last
from tflm.tasks.task import Batch
from tflm.tasks.text_task import TextTask
from tflm.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class LanguageModelingConfig:
    """Settings of `LanguageModeling`."""

    kind: str = "language_modeling"
    mark_documents: bool = True
    """Each document stands between a start and an end token, and generation stops at its end. False for one
    continuous text, such as a book."""
    separate_documents: bool = False
    """Where several documents stand in one block, each sees itself alone, and its positions count from its own
    beginning. For Transformers."""

    def __post_init__(self) -> None:
        if self.separate_documents and not self.mark_documents:
            raise ValueError("separate_documents finds documents by their marks: it needs mark_documents.")


class LanguageModeling(TextTask):
    """The documents joined and cut into blocks of `max_length`; every token counts.

    `serving_default` gives the continuation of `text`, without the text itself.
    """

    def __init__(
        self, config: LanguageModelingConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config = config

    def encode(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.RaggedTensor | tf.Tensor]:
        """`{"text": ["ab"]}` to `{"token_ids": [[start, a, b, end]]}`."""
        rows = self.tokenizer.tokenize(examples["text"])
        return {"token_ids": self._marked(rows)}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Blocks of `max_length` tokens."""
        return PackedBatches(store, self.max_length, batch_size, seed, training)

    def features(self, batch: Batch) -> dict[str, tf.Tensor]:
        """`document_ids`, where documents are kept apart: how many start tokens came so far."""
        if not self.config.separate_documents:
            return {}
        starts = tf.equal(batch["token_ids"], self.tokenizer.start_id)
        return {"document_ids": tf.cumsum(tf.cast(starts, tf.int32), axis=1)}

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The text, cut at its beginning where prompt and continuation would not fit; half the room at least."""
        room = tf.maximum(self.max_length - max_new_tokens, self.max_length // 2)
        if self.config.mark_documents:
            rows = self.tokenizer.tokenize(text)
            kept = join(self.tokenizer.start_id, keep_last(rows, room - 1))
            return Cut(kept, is_longer(rows, room - 1))
        # A continuous text has no beginning that the model knows; a new line is the nearest to one.
        rows = self.tokenizer.tokenize(tf.where(tf.equal(text, ""), "\n", text))
        # Where nothing is left of a text, as of spaces in wordpieces, the start token stands alone.
        lengths = tf.minimum(tf.cast(rows.row_lengths(), tf.int32), room)
        kept = keep_last(join(self.tokenizer.start_id, rows), tf.maximum(lengths, 1))
        return Cut(kept, is_longer(rows, room))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """The text between its marks, or alone; its first token is given."""
        rows = self._marked(self.tokenizer.tokenize(inputs["text"]))
        return rows, tf.ones([rows.nrows()], tf.int32)

    def _marked(self, rows: tf.RaggedTensor) -> tf.RaggedTensor:
        if not self.config.mark_documents:
            return rows
        return join(self.tokenizer.start_id, rows, self.tokenizer.end_id)
