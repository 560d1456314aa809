"""Masked language modelling: find the hidden tokens of a text from both sides; fill blanks; embed."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.data import Batches, RowBatches, TokenStore
from tflm.data.batching.mapped_batches import MappedBatches
from tflm.data.store_views import CutStore
from tflm.errors import UserError
from tflm.layers import EmbeddingHead, PooledHead, padding_mask
from tflm.models import HeadModel, TextModel
from tflm.tasks.features.blanks import (
    BLANK,
    begin_words,
    fill_blanks,
    fill_candidates,
    split_at_blanks,
    tokens_with_marks,
)
from tflm.tasks.features.masking import WholeWords, mask_tokens
from tflm.tasks.features.rows import is_longer, join, keep_first
from tflm.tasks.features.sentence_pairs import OBJECTIVES, SentencePairs, cut_segments, draw_pairs
from tflm.tasks.features.windows import embed_in_windows
from tflm.tasks.losses import token_cross_entropy
from tflm.tasks.registry import register_task
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.task import TEXT, Batch, Features, Task, TaskConfig, mean
from tflm.text import Tokenizer
from tflm.text.token_texts import special_ids


@dataclasses.dataclass(frozen=True)
class MaskedLanguageModelingConfig(TaskConfig):
    """Settings of `MaskedLanguageModeling`."""

    kind: str = "masked_language_modeling"
    mask_fraction: float = 0.15
    """How many of the tokens are to be found."""
    whole_words: bool = False
    """All tokens of a word are hidden together."""
    word_list: str = ""
    """With whole_words: a text file of Chinese words, one a line; see `WholeWords`."""
    sentence_objective: str = "none"
    """none, next_sentence (BERT) or sentence_order (ALBERT): rows are two segments of a document, and the model also
    says whether the second follows the first."""

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_fraction < 1.0:
            raise ValueError(f"mask_fraction is between 0 and 1; got {self.mask_fraction}.")
        if self.sentence_objective not in OBJECTIVES:
            raise ValueError(
                f"sentence_objective is one of {', '.join(OBJECTIVES)}; got {self.sentence_objective!r}."
            )
        if self.word_list and not self.whole_words:
            raise ValueError("word_list says what whole words are: it needs whole_words.")


@register_task("masked_language_modeling")
class MaskedLanguageModeling(Task):
    """Rows of start, text, end (Devlin et al., 2019); with a sentence objective start, text, separator, text, end. A
    longer document becomes several rows, and nothing of it is thrown away. Masks are new in every epoch.

    `serving_default` gives `text` with each blank (`____`) filled by the likeliest token, all from one reading, and
    their `log_probability`. What else the text holds stays as it is; blanks beyond the model's length stay too.
    """

    config_class = MaskedLanguageModelingConfig
    has_soft_targets = True
    few_widths = (
        False  # a batch is as wide as its longest row with marks: padding it to one of a few costs more
    )
    architectures = ("encoder",)
    augmented = ("text",)

    def __init__(self, config: MaskedLanguageModelingConfig, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__(tokenizer, max_length)
        self.config = config
        self._has_pairs = config.sentence_objective != "none"
        for name in ("mask", "separator") if self._has_pairs else ("mask",):
            if name not in tokenizer.special_tokens:
                raise UserError(
                    f"masked language modelling needs a tokenizer with the special token {name!r}; it has "
                    f"{list(tokenizer.special_tokens)}. Train one with special_tokens=('separator', 'mask')."
                )
        self._num_marks = 3 if self._has_pairs else 2
        if max_length <= self._num_marks:
            raise UserError(
                f"model.max_length={max_length} leaves no room for text next to {self._num_marks} special tokens. "
                "Raise it."
            )
        self._mask_id = tokenizer.special_tokens["mask"]
        specials = set(special_ids(tokenizer))
        self._ordinary_ids = [index for index in range(tokenizer.vocab_size) if index not in specials]

    @classmethod
    def files(cls, config: MaskedLanguageModelingConfig) -> tuple[str, ...]:
        """The list of words."""
        return (config.word_list,) if config.word_list else ()

    def model_for(self, body: TextModel) -> Any:
        """The body; with a sentence objective, also a head on its first token."""
        if not self._has_pairs:
            return body
        return HeadModel(body, PooledHead(2, "first", hidden_layer=True, name="sentence_head"))

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """`{"text": ["ab"]}` to `{"token_ids": [[a, b]]}`, and with whole words `"word_ids": [[0, 0]]`."""
        rows = self.tokenizer.tokenize(examples["text"])
        return {"token_ids": rows, "word_ids": self._words(rows)} if self._words else {"token_ids": rows}

    @functools.cached_property
    def _words(self) -> WholeWords | None:
        """Made when it is first needed: what a model has learned can be used without the list."""
        config = self.config
        return WholeWords(self.tokenizer, config.word_list) if config.whole_words else None

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Rows of like length together, masked."""
        room = self.max_length - self._num_marks
        names = ("token_ids", "word_ids") if self.config.whole_words else ("token_ids",)
        rows = RowBatches(CutStore(store, room), batch_size, dict.fromkeys(names, room), seed, training)
        ids, floats = (tf.TensorSpec([batch_size, None], dtype) for dtype in (tf.int32, tf.float32))
        spec = {"token_ids": ids, "targets": ids, "loss_weights": floats}
        if self._has_pairs:
            spec |= {
                "segment_ids": ids,
                "sentence_labels": tf.TensorSpec([batch_size], tf.int32),
                "sentence_weights": tf.TensorSpec([batch_size], tf.float32),
            }
        return MappedBatches(rows, self.corrupt, spec)

    def corrupt(self, batch: Batch, seed: tf.Tensor) -> Batch:
        """Marks and masks rows.

        Args:
            batch: `token_ids` int32 [B, T] and, with whole words, `word_ids` int32 [B, T]; `row_weights` float32 [B].
            seed: int64 [2].
        Returns:
            `token_ids`, `targets` int32 [B, T + 2] and `loss_weights` float32 [B, T + 2]; with a sentence objective
            T + 3, and `segment_ids` int32 [B, T + 3], `sentence_labels` int32 [B], `sentence_weights` float32 [B].
        """
        mask_seed, pair_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        is_token = tf.not_equal(batch["token_ids"], self.tokenizer.pad_id)
        lengths = tf.math.count_nonzero(is_token, axis=1, dtype=tf.int32)
        pairs = draw_pairs(lengths, pair_seed, self.config.sentence_objective) if self._has_pairs else None
        token_ids, segment_ids = self._with_marks(batch["token_ids"], lengths, pairs)
        if self.config.whole_words:
            unit_ids, _ = self._with_marks(batch["word_ids"], lengths, pairs, mark=-1)
        else:
            unit_ids = tf.broadcast_to(tf.range(tf.shape(token_ids)[1]), tf.shape(token_ids))
        masked = mask_tokens(
            token_ids,
            mask_seed,
            maskable=tf.gather(self._is_ordinary(), token_ids),
            unit_ids=unit_ids,
            mask_fraction=self.config.mask_fraction,
            mask_id=self._mask_id,
            ordinary_ids=tf.constant(self._ordinary_ids, tf.int32),
        )._asdict()
        if pairs is None:
            return masked
        weights = batch["row_weights"] * tf.cast(pairs.are_pairs, tf.float32)
        sentences = {"sentence_labels": pairs.labels, "sentence_weights": weights}
        return {**masked, "segment_ids": segment_ids, **sentences}

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Summed cross entropy of the hidden tokens, and their number. With a sentence objective its mean is added
        to the mean of the tokens (Devlin et al., 2019, appendix A.2), so to the sum as often as there are tokens."""
        return self._loss(model, batch, training, None)

    def distilled_loss(self, model: Any, batch: Batch, soft: SoftTargets) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Task`; of the hidden tokens. A sentence objective is learned from the labels alone."""
        return self._loss(model, batch, True, soft)

    def _loss(
        self, model: Any, batch: Batch, training: bool, soft: SoftTargets | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        states, teacher_states = self._states(model, batch, training), None
        if soft is not None:
            teacher_states = self._states(soft.teacher, batch, training=False)
            soft = dataclasses.replace(soft, teacher=self._body(soft.teacher))
        loss, weight = token_cross_entropy(
            self._body(model),
            states,
            batch["targets"],
            batch["loss_weights"],
            compact=True,
            training=training,
            soft=soft,
            teacher_states=teacher_states,
        )
        if self._has_pairs:
            sums = self._sentence_sums(model, states, batch, training)
            loss += tf.math.divide_no_nan(sums["sentence_loss"], sums["sentences"]) * weight
        return loss, weight

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """`loss` of the hidden tokens, `weight` and `correct`; `sentence_loss`, `sentences`, `sentences_correct`."""
        states = self._states(model, batch, training=False)
        counted = tf.where(batch["loss_weights"] > 0)
        targets = tf.gather_nd(batch["targets"], counted)
        logits = self._body(model).logits(tf.gather_nd(states, counted))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        sums = {
            "loss": tf.reduce_sum(losses),
            "weight": tf.cast(tf.size(targets), tf.float32),
            "correct": _count(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), targets)),
        }
        return sums | (self._sentence_sums(model, states, batch, training=False) if self._has_pairs else {})

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """`loss` in nats, `accuracy` of the hidden tokens, their number; and `sentence_accuracy`."""
        loss = mean(sums["loss"], sums["weight"])
        metrics = {"accuracy": mean(sums["correct"], sums["weight"]), "num_tokens": sums["weight"]}
        if self._has_pairs:
            loss += mean(sums["sentence_loss"], sums["sentences"])
            metrics["sentence_accuracy"] = mean(sums["sentences_correct"], sums["sentences"])
        return {"loss": loss, **metrics}

    def signatures(self, model: Any) -> dict[str, Callable[..., Any]]:
        """`fill`, the same as `serving_default`, `embed` and `tokenize`.

        `fill` reads as much of a text as a row holds and says `truncated` bool [B] where that is not all; `embed` reads
        a longer text in windows.
        """
        body, head = self._body(model), EmbeddingHead()
        candidates = tf.constant(fill_candidates(self.tokenizer))

        def fill_(text: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._fill(body, text, candidates)

        def embed_rows(token_ids: tf.Tensor) -> tf.Tensor:
            return head(body.hidden_states(token_ids), padding_mask(token_ids, self.tokenizer.pad_id))

        def embed_(text: tf.Tensor) -> dict[str, tf.Tensor]:
            rows, marks = self.tokenizer.tokenize(text), (self.tokenizer.first_id, self.tokenizer.end_id)
            width = body.config.hidden_dim
            return {
                "embedding": embed_in_windows(
                    embed_rows, rows, self.max_length, marks, width, self.tokenizer.pad_id
                )
            }

        fill, embed = (
            tf.function(function, input_signature=[TEXT], autograph=False) for function in (fill_, embed_)
        )
        return {"serving_default": fill, "fill": fill, "embed": embed, "tokenize": self.tokenize_signature()}

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """One row and several of unequal length, in English and in Chinese, with and without blanks; a text of several
        windows."""
        batches = [
            [f"A language {BLANK}."],
            [f"你好，{BLANK}界", "", f"{BLANK} {BLANK} text", "no blank 没有"],
            [f"{BLANK} 你好，a long text. " * (1 + self.max_length // 12)],
        ]
        requests = [{"text": list(batch)} for batch in batches]
        return dict.fromkeys(("serving_default", "fill", "embed", "tokenize"), requests)

    def _with_marks(
        self, rows: tf.Tensor, lengths: tf.Tensor, pairs: SentencePairs | None, mark: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of a feature as the model reads them, int32 [B, T'], and which segment each place is in.

        Args:
            rows: int32 [B, T].
            lengths: int32 [B].
            pairs: for two segments.
            mark: replaces special tokens; None to keep them.
        """
        tokenizer = self.tokenizer
        start, end = (tokenizer.first_id, tokenizer.end_id) if mark is None else (mark, mark)
        padding = tokenizer.pad_id if mark is None else 0
        ragged = tf.RaggedTensor.from_tensor(rows, lengths=tf.cast(lengths, tf.int64))
        if pairs is None:
            joined = join(start, ragged, end).to_tensor(padding)
            return joined, tf.zeros_like(joined)
        separator = tokenizer.special_tokens["separator"] if mark is None else mark
        first, second = cut_segments(ragged, pairs, self.max_length - self._num_marks)
        joined = join(start, first, separator, second, end).to_tensor(padding)
        second_starts = tf.cast(first.row_lengths(), tf.int32)[:, None] + 2
        return joined, tf.cast(tf.range(tf.shape(joined)[1]) >= second_starts, tf.int32)

    def _is_ordinary(self) -> tf.Tensor:
        """bool [V]."""
        places = tf.constant(self._ordinary_ids)[:, None]
        return tf.scatter_nd(places, tf.fill([len(self._ordinary_ids)], True), [self.tokenizer.vocab_size])

    def _one_segment(self, rows: tf.RaggedTensor) -> tf.Tensor:
        """int32 [B, T]: start, the text as far as there is room, end."""
        rows = keep_first(rows, self.max_length - 2)
        return join(self.tokenizer.first_id, rows, self.tokenizer.end_id).to_tensor(self.tokenizer.pad_id)

    def _body(self, model: Any) -> Any:
        return model.body if self._has_pairs else model

    def _states(self, model: Any, batch: Batch, training: bool) -> tf.Tensor:
        body = self._body(model)
        features = {}
        if self._has_pairs and getattr(body.config, "num_segments", 0) > 1:
            features["segment_ids"] = batch["segment_ids"]
        return body.hidden_states(batch["token_ids"], training=training, **features)

    def _sentence_sums(
        self, model: HeadModel, states: tf.Tensor, batch: Batch, training: bool
    ) -> dict[str, tf.Tensor]:
        logits = model.text_head(
            states, padding_mask(batch["token_ids"], self.tokenizer.pad_id), training=training
        )
        labels, weights = batch["sentence_labels"], batch["sentence_weights"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
        return {
            "sentence_loss": tf.reduce_sum(losses * weights),
            "sentences": tf.reduce_sum(weights),
            "sentences_correct": _count(right & (weights > 0)),
        }

    def _fill(self, body: TextModel, text: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = split_at_blanks(text)
        tokens = tokens_with_marks(self.tokenizer, parts, [self._mask_id])
        token_ids = self._one_segment(tokens)
        hidden = tf.equal(token_ids, self._mask_id)
        num_hidden = tf.math.count_nonzero(hidden, axis=1, dtype=tf.int32)
        states = tf.boolean_mask(body.hidden_states(token_ids), hidden)
        log_shares = tf.nn.log_softmax(body.logits(states))
        # A row's last blanks may lie beyond what was read.
        begins = keep_first(begin_words(self.tokenizer, parts), num_hidden)
        allowed = tf.gather(candidates, tf.cast(begins.flat_values, tf.int32))
        best = tf.argmax(tf.where(allowed, log_shares, -float("inf")), axis=-1, output_type=tf.int32)
        fillings = begins.with_flat_values(self.tokenizer.detokenize(best[:, None]))
        found = begins.with_flat_values(tf.gather(log_shares, best, batch_dims=1))
        return {
            "text": fill_blanks(self.tokenizer, parts, fillings),
            "log_probability": tf.reduce_sum(found, axis=1),
            "truncated": is_longer(tokens, self.max_length - 2),
        }


def _count(flags: tf.Tensor) -> tf.Tensor:
    """float32 scalar."""
    return tf.math.count_nonzero(flags, dtype=tf.float32)
