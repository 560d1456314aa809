"""Word vectors: skip-gram with negative sampling; which words are near to a text."""

import dataclasses
import os
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.data import Batches, TokenStore
from tflm.data.batching.skip_gram_batches import SkipGramBatches
from tflm.errors import UserError
from tflm.layers.linear import table_rows
from tflm.models.skip_gram import SkipGram
from tflm.tasks.registry import register_task
from tflm.tasks.task import TEXT, Batch, Features, Task, TaskConfig, mean
from tflm.text import Tokenizer
from tflm.text.initial_embedding import vocabulary_texts
from tflm.text.word_vectors import write_word_vectors

NUM_NEAREST = 10
_WITHIN_WORDS = frozenset("-_'’")


@dataclasses.dataclass(frozen=True)
class WordVectorsConfig(TaskConfig):
    """Settings of `WordVectors`."""

    kind: str = "word_vectors"
    window: int = 5
    """The greatest distance, in words, of two that count as near."""
    subsample: float = 1e-3
    """A word more frequent than this share of the text is left out at times; 0 for never. 1e-5 for a large text."""
    num_negatives: int = 5
    """Noise words for each pair."""

    def __post_init__(self) -> None:
        for field in ("window", "num_negatives"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        if not 0 <= self.subsample <= 1:
            raise ValueError(f"subsample is a share from 0 to 1; got {self.subsample}.")


@register_task("word_vectors")
class WordVectors(Task):
    """Learns words from those around them (Mikolov et al., 2013, sections 2.2 and 2.3).

    A word is a token of letters and digits; those whose texts differ in the spaces around them alone are one (" file"
    and "file"). So the vocabulary should hold whole words, as SentencePiece's unigram does, with `case_fold`; a rare
    word is several, its parts. Punctuation is passed over: windows reach across it.

    `serving_default` and `nearest` give the ten nearest `words` of a text and their `scores`, the cosines to the mean
    of its words' vectors; `embed` gives that mean. All words of a text count, however long it is.
    """

    config_class = WordVectorsConfig
    architectures = ("skip-gram model",)

    def __init__(self, config: WordVectorsConfig, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        self.config = config
        texts = vocabulary_texts(tokenizer)
        self._word_of_token = _words_of_tokens(texts)
        self.word_ids = np.unique(self._word_of_token)[1:]
        """int [W]: the ids that are words."""
        self.words = [texts[index] for index in self.word_ids]
        """What they are, [W]."""
        if len(self.words) <= NUM_NEAREST:
            raise UserError(
                f"word vectors need a vocabulary of more than {NUM_NEAREST} words; of the {len(texts)} tokens of this "
                f"one {len(self.words)} are of letters and digits. Train a larger one, or on more text."
            )

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """`{"text": ["A file, a list."]}` to `{"token_ids": [[a, file, a, list]]}`."""
        return {"token_ids": self._words(examples["text"])}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Pairs of words, with noise."""
        return SkipGramBatches(
            store,
            batch_size,
            vocab_size=self.tokenizer.vocab_size,
            window=self.config.window,
            subsample=self.config.subsample,
            num_negatives=self.config.num_negatives,
            seed=seed,
            training=training,
        )

    def loss(self, model: SkipGram, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Minus equation 4, summed over the pairs, and their number: float32 scalars.

        Noise that happens to be the word itself does not count, as in word2vec.
        """
        targets, negatives = batch["targets"][:, None], batch["negatives"]
        scores = model.scores(batch["token_ids"], tf.concat([targets, negatives], axis=1))
        noise = tf.where(tf.equal(negatives, targets), 0.0, tf.nn.softplus(scores[:, 1:]))
        losses = tf.nn.softplus(-scores[:, 0]) + tf.reduce_sum(noise, axis=1)
        weights = batch["loss_weights"]
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats a pair (ln 2 times 1 + num_negatives knows nothing), and the number of pairs it is over."""
        return {"loss": mean(sums["loss"], sums["weight"]), "num_pairs": sums["weight"]}

    def signatures(self, model: SkipGram) -> dict[str, Callable[..., Any]]:
        """`nearest`, the same as `serving_default`, `embed`, and `tokenize`, which gives the words' ids."""
        texts = tf.constant(vocabulary_texts(self.tokenizer))

        def nearest(text: tf.Tensor) -> dict[str, tf.Tensor]:
            scores, ids = tf.math.top_k(self._cosines(model, text), NUM_NEAREST)
            known = scores >= -1.0 - 1e-3
            return {
                "words": tf.where(known, tf.gather(texts, ids), ""),
                "scores": tf.where(known, scores, 0.0),
            }

        def embed(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"embedding": self._mean_vector(model, self._words(text))}

        def tokenize(text: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = self._words(text)
            return {
                "token_ids": rows.to_tensor(self.tokenizer.pad_id),
                "lengths": tf.cast(rows.row_lengths(), tf.int32),
            }

        functions = {"serving_default": nearest, "nearest": nearest, "embed": embed, "tokenize": tokenize}
        return {
            name: tf.function(function, input_signature=[TEXT], autograph=False)
            for name, function in functions.items()
        }

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several, in English and in Chinese, one without a word."""
        requests = [
            {"text": ["file"]},
            {"text": ["质量", "", "a list of strings", "……", "手机 very good 😀"]},
        ]
        return {name: requests for name in ("serving_default", "nearest", "embed", "tokenize")}

    def save_vectors(self, model: SkipGram, path: str | os.PathLike[str], binary: bool = False) -> None:
        """Writes the words and their vectors in word2vec's format; see `write_word_vectors`."""
        vectors = np.asarray(model.embedding.embeddings)[self.word_ids]
        write_word_vectors(path, self.words, vectors, binary)

    def _words(self, text: tf.Tensor) -> tf.RaggedTensor:
        """int32 [B, (T)] for string [B]: the words among the tokens.

        Each begins after one space, the first too: " file" is the token of "file" all over a text.
        """
        text = tf.strings.regex_replace(text, r"[\s\p{Z}]+", " ")
        rows = self.tokenizer.tokenize(tf.strings.regex_replace(text, "^ ?", " ", replace_global=False))
        words = tf.gather(tf.constant(self._word_of_token), rows.flat_values)
        kept = words > 0
        ends = tf.concat([[0], tf.cumsum(tf.cast(kept, tf.int64))], axis=0)
        return tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(words, kept), tf.gather(ends, rows.row_splits), validate=False
        )

    def _mean_vector(self, model: SkipGram, rows: tf.RaggedTensor) -> tf.Tensor:
        """float32 [B, D]; 0 for a row without a word."""
        vectors = tf.cast(model.embed(rows.flat_values), tf.float32)
        return tf.math.unsorted_segment_mean(vectors, rows.value_rowids(), rows.nrows())

    def _cosines(self, model: SkipGram, text: tf.Tensor) -> tf.Tensor:
        """float32 [B, V]; less than -1 for tokens that are no words, and for the text's own."""
        rows = self._words(text)
        mean_vector = self._mean_vector(model, rows)
        vectors = table_rows(model.embedding.embeddings)
        cosines = tf.matmul(
            tf.nn.l2_normalize(mean_vector, axis=1), tf.nn.l2_normalize(vectors, axis=1), transpose_b=True
        )
        is_word = tf.constant(np.isin(np.arange(self.tokenizer.vocab_size), self.word_ids))
        has_words = rows.row_lengths() > 0
        cosines = tf.where(is_word[None] & has_words[:, None], cosines, -2.0)
        own = tf.stack([rows.value_rowids(), tf.cast(rows.flat_values, tf.int64)], axis=1)
        return tf.tensor_scatter_nd_update(cosines, own, tf.fill([tf.shape(own)[0]], -2.0))


def _words_of_tokens(texts: list[str]) -> np.ndarray:
    """For each token the id of its word, the first token with the same text; 0 for one that is no word.

    >>> _words_of_tokens(["", "file", "`32.", "质量", "file"])
    array([0, 1, 0, 3, 1], dtype=int32)
    """
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if _is_word(text):
            first.setdefault(text, index)
    return np.array([first.get(text, 0) for text in texts], np.int32)


def _is_word(text: str) -> bool:
    """A letter or a digit, and neither punctuation nor symbols; marks, as on the letters of Hindi, may be in it."""
    inside = (c for c in text if c not in _WITHIN_WORDS)
    return any(c.isalnum() for c in text) and all(unicodedata.category(c)[0] not in "PS" for c in inside)
