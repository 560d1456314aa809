"""Similarity: vectors of texts, near to each other where two texts belong together."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.config import option
from tflm.data import Batches, RowBatches, TokenStore
from tflm.errors import UserError
from tflm.layers import EmbeddingHead
from tflm.layers.heads import POOLINGS
from tflm.models import HeadModel, TextModel
from tflm.tasks.columns import PAIR, Columns
from tflm.tasks.features.rows import join, keep_first
from tflm.tasks.features.windows import embed_in_windows
from tflm.tasks.registry import register_task
from tflm.tasks.task import TEXT, Batch, Features, Task, TaskConfig, TaskReport, mean
from tflm.tasks.task_recipes import small_encoder, task_recipe
from tflm.text import Tokenizer

_PAIR = tf.TensorSpec([None], tf.string, "text_pair")
_NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class SimilarityConfig(TaskConfig):
    """Settings of `Similarity`."""

    kind: str = "similarity"
    temperature: float = 0.05
    """What cosines are divided by; the lower, the more the nearest of the others count."""
    embedding_dim: int = 0
    """Width of the vectors, by a projection; 0 for the model's own."""
    pooling: str = option("mean")
    """What of the hidden states becomes the vector: mean, max, first or last token."""
    normalize: bool = option(True)
    """Whether vectors have length 1; those of some published models do not."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature is above 0; got {self.temperature}.")
        if self.embedding_dim < 0:
            raise ValueError(f"embedding_dim is 0 or more; got {self.embedding_dim}.")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {self.pooling!r}.")


@register_task("similarity")
class Similarity(Task):
    """Learns to find a text's own partner among those of the batch: each example is a pair, `source` and `target`, and
    the other pairs of the batch give the wrong answers (Henderson et al., 2017, section 4.4; Gao et al., 2021,
    section 4). Where source and target are the same text, dropout alone tells them apart (Gao et al., section 3).

    Rows are start, text, end. A batch is that of a replica, and of a micro-batch where gradients are accumulated: each
    finds its wrong answers in itself. Length bucketing puts rows of similar length together, so length does not
    distinguish them.

    `serving_default` and `embed` give `embedding` [B, D] for `text`, of length 1 with `normalize`; `similarity` the
    cosine, from -1 to 1, of `text` and `text_pair`. A text that is longer than a row is read in windows, and its vector
    is their mean by length; training reads it to the end of a row.
    """

    config_class = SimilarityConfig
    architectures = ("encoder", "decoder")
    columns = Columns(PAIR)

    def __init__(self, config: SimilarityConfig, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        self.config = config
        if max_length < 3:
            raise UserError(
                f"model.max_length={max_length} leaves no room for text between the start and end tokens. Raise it."
            )
        # Below 2 to the power of 32, so that the sum over a row stays an int64.
        self._factors = np.random.default_rng(0).integers(1, 2**32, max_length, np.int64)

    @classmethod
    def report(cls, config: SimilarityConfig) -> TaskReport:
        """How sources find their targets."""
        del config
        return TaskReport("retrieval", "embed", PAIR)

    def model_for(self, body: TextModel) -> HeadModel:
        """The body, with a head that makes the vector of a text."""
        config = self.config
        head = EmbeddingHead(config.embedding_dim, config.pooling, config.normalize, name="embedding_head")
        return HeadModel(body, head)

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """`{"source": ["ab"], "target": ["c"]}` to `{"source_ids": [[start, a, b, end]], "token_ids": [[start, c,
        end]]}`."""
        if "source" not in examples:
            raise UserError(
                f"similarity needs pairs of texts; an example has only {', '.join(examples)}. Set data.source_column "
                "and data.target_column."
            )
        return {"source_ids": self._rows(examples["source"]), "token_ids": self._rows(examples["target"])}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Pairs of like length together.

        Raises:
            UserError: batches of one pair, in which nothing could be learned.
        """
        if batch_size < 2:
            raise UserError(
                f"training.global_batch_size={batch_size} leaves no other pair to tell a pair from. Give 2 or more; "
                "64 is a good beginning."
            )
        lengths = {"source_ids": self.max_length, "token_ids": self.max_length}
        return RowBatches(store, batch_size, lengths, seed, training)

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Cross entropy of finding the target by the source and the source by the target, their mean, summed over the
        pairs; and the number of pairs."""
        losses = self._losses(self._logits(model, batch, training))
        weights = batch["row_weights"]
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Also `correct`: sources whose own target is the nearest of the batch."""
        logits, weights = self._logits(model, batch, training=False), batch["row_weights"]
        places = tf.range(tf.shape(logits)[0])
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), places)
        return {
            "loss": tf.reduce_sum(self._losses(logits) * weights),
            "weight": tf.reduce_sum(weights),
            "correct": tf.reduce_sum(tf.cast(right, tf.float32) * weights),
        }

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a pair, `accuracy` among the targets of a batch (so it depends on the batch size, and on how
        many replicas share it), and the number of pairs they are over."""
        weight = sums["weight"]
        return {
            "loss": mean(sums["loss"], weight),
            "accuracy": mean(sums["correct"], weight),
            "num_examples": weight,
        }

    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """`embed`, the same as `serving_default`, `similarity` and `tokenize`."""

        @tf.function(input_signature=[TEXT], autograph=False)
        def embed(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"embedding": self._embed(model, text)}

        @tf.function(input_signature=[TEXT, _PAIR], autograph=False)
        def similarity(text: tf.Tensor, text_pair: tf.Tensor) -> dict[str, tf.Tensor]:
            product = self._unit(self._embed(model, text)) * self._unit(self._embed(model, text_pair))
            return {"similarity": tf.reduce_sum(product, axis=1)}

        return {
            "serving_default": embed,
            "embed": embed,
            "similarity": similarity,
            "tokenize": self.tokenize_signature(),
        }

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several of unequal length, in English and in Chinese; a text of several windows."""
        long = "a cat, a dog. 今天天气很好。" * (1 + self.max_length // 8)
        batches = [
            ["How do I open a file?"],
            ["今天天气很好", "", "a cat, a dog", "手机 very good 😀"],
            [long],
        ]
        plain = [{"text": list(batch)} for batch in batches]
        pairs = [{**request, "text_pair": request["text"][::-1]} for request in plain]
        return {"serving_default": plain, "embed": plain, "similarity": pairs, "tokenize": plain}

    def _rows(self, text: tf.Tensor) -> tf.RaggedTensor:
        """int32 [B, (T)]: start, the text as far as there is room, end."""
        rows = keep_first(self.tokenizer.tokenize(text), self.max_length - 2)
        return join(self.tokenizer.first_id, rows, self.tokenizer.end_id)

    def _embed(self, model: Any, text: tf.Tensor) -> tf.Tensor:
        tokenizer = self.tokenizer
        return embed_in_windows(
            lambda rows: model(rows, training=False),
            tokenizer.tokenize(text),
            self.max_length,
            (tokenizer.first_id, tokenizer.end_id),
            self.config.embedding_dim or model.config.hidden_dim,
            tokenizer.pad_id,
        )

    def _unit(self, vectors: tf.Tensor) -> tf.Tensor:
        """Vectors of length 1."""
        return vectors if self.config.normalize else tf.math.l2_normalize(vectors, axis=1)

    def _logits(self, model: Any, batch: Batch, training: bool) -> tf.Tensor:
        """float32 [B, B], sources by targets; `_NEVER` where two rows are no wrong answer for each other.

        That is where their texts are the same: both sources, both targets, or one's source and the other's target. And
        rows that only fill up a batch are nobody's answer.
        """
        sources, targets = (
            self._unit(tf.cast(model(batch[name], training=training), tf.float32))
            for name in ("source_ids", "token_ids")
        )
        logits = tf.matmul(sources, targets, transpose_b=True) / self.config.temperature
        source_keys, target_keys = self._keys(batch["source_ids"]), self._keys(batch["token_ids"])
        same = _equal(source_keys, source_keys) | _equal(target_keys, target_keys)
        same |= _equal(source_keys, target_keys)
        real = batch["row_weights"] > 0
        places = tf.range(tf.size(source_keys))
        allowed = (~same & real[:, None] & real[None]) | _equal(places, places)
        return tf.where(allowed, logits, _NEVER)

    def _keys(self, token_ids: tf.Tensor) -> tf.Tensor:
        """int64 [B], equal for equal rows whatever their padding; for others in one of some 2 ** 32 cases, which costs
        them a wrong answer and nothing more."""
        factors = tf.constant(self._factors)[: tf.shape(token_ids)[1]]
        counted = tf.where(tf.equal(token_ids, self.tokenizer.pad_id), 0, token_ids + 1)
        return tf.reduce_sum(tf.cast(counted, tf.int64) * factors, axis=1)

    def _losses(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 [B]."""
        places = tf.range(tf.shape(logits)[0])
        both = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(places, side)
            for side in (logits, tf.transpose(logits))
        ]
        return tf.add_n(both) / 2.0


def _equal(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """bool [B, B] of two [B]."""
    return tf.equal(rows[:, None], columns[None])


@task_recipe(Similarity)
def similarity(config: Any, num_examples: int) -> Any:
    """Vectors of texts, near to each other for the two texts of a row."""
    del num_examples
    return dataclasses.replace(config, task=SimilarityConfig(), model=small_encoder())
