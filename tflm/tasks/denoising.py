"""Denoising: an encoder-decoder learns from texts alone, by mending what was spoilt or going on with it."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.data import Batches, PackedBatches, TokenStore
from tflm.data.batching.mapped_batches import MappedBatches
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.tasks.features.blanks import (
    BLANK,
    fill_blanks,
    fillings_with_spaces,
    split_at_blanks,
    tokens_with_marks,
)
from tflm.tasks.features.prefix_split import split_prefix
from tflm.tasks.features.rows import Cut, is_longer, join, keep_first, keep_last, whole
from tflm.tasks.features.span_corruption import corrupted_sources, count_spans, missing_targets, random_spans
from tflm.tasks.generative_task import GenerativeTask
from tflm.tasks.registry import register_task
from tflm.tasks.sequence_to_sequence import next_token_batch
from tflm.tasks.task import TEXT, Batch, Features, TaskConfig
from tflm.text import Tokenizer

OBJECTIVES = ("span_corruption", "prefix_lm", "infilling")


@dataclasses.dataclass(frozen=True)
class DenoisingConfig(TaskConfig):
    """Settings of `Denoising`."""

    kind: str = "denoising"
    objective: str = "span_corruption"
    """span_corruption (T5): write what is missing. prefix_lm: continue a text. infilling (BART): write the
    whole text, of which parts are missing."""
    noise_density: float = 0.15
    """The share of missing tokens. BART has 0.3."""
    mean_span_length: float = 3.0
    """How many tokens are missing at one place."""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is one of {', '.join(OBJECTIVES)}; got {self.objective!r}.")
        if not 0.0 < self.noise_density < 1.0:
            raise ValueError(f"noise_density is between 0 and 1; got {self.noise_density}.")
        if self.mean_span_length < 1.0:
            raise ValueError(f"mean_span_length is at least 1; got {self.mean_span_length}.")


@register_task("denoising")
class Denoising(GenerativeTask):
    """Documents, each with a separator at its end, joined and cut into blocks; other tokens are missing in every epoch.

    `serving_default`, by objective: `text` with each blank (`____`) filled by what the decoder writes for it, if it
    does, and all else as it was; the continuation of `text`; `text` with its blanks filled.
    """

    config_class = DenoisingConfig
    architectures = ("encoder-decoder",)

    compact_loss = True
    explains = False
    score_inputs = (TEXT, tf.TensorSpec([None], tf.string, "target"))

    def __init__(
        self, config: DenoisingConfig, tokenizer: Tokenizer, max_length: int, decoding: DecodingConfig
    ) -> None:
        super().__init__(tokenizer, max_length, decoding)
        self.config = config
        if max_length < 8:
            raise UserError(f"model.max_length={max_length}; denoising needs 8 at least. Raise it.")
        self.block_length = self._longest_block()
        self._mark_ids = self._find_marks()

    def encode(self, examples: dict[str, tf.Tensor]) -> Features:
        """`{"text": ["ab"]}` to `{"token_ids": [[a, b, separator]]}`."""
        rows = self.tokenizer.tokenize(examples["text"])
        return {"token_ids": join(rows, self.tokenizer.special_tokens["separator"])}

    def batches(self, store: TokenStore, batch_size: int, seed: int, training: bool) -> Batches:
        """Blocks, spoilt. All are equally wide, but for prefix_lm."""
        blocks = PackedBatches(store, self.block_length, batch_size, seed, training)
        source, target = (
            tf.TensorSpec([batch_size, width], tf.int32) for width in self._widths(self.block_length)
        )
        return MappedBatches(blocks, self.corrupt, {"source_ids": source, "token_ids": target})

    def corrupt(self, batch: Batch, seed: tf.Tensor) -> Batch:
        """`{"token_ids": [[5, 6, 7, 8, 9]]}` to `{"source_ids": [[5, 30, 8, 9, 2]], "token_ids": [[1, 30, 6, 7, 2]]}`,
        where 1 is start, 2 end and 30 the first sentinel.

        Args:
            batch: `token_ids` int32 [B, L], padded with the pad id on the right.
            seed: int64 [2].
        Returns:
            `source_ids` int32 [B, S] and `token_ids` int32 [B, T]; a row without tokens has none in `token_ids`.
        """
        token_ids = batch["token_ids"]
        pad_id = self.tokenizer.pad_id
        lengths = tf.math.count_nonzero(tf.not_equal(token_ids, pad_id), axis=1, dtype=tf.int32)
        rows = self._sources_and_targets(token_ids, lengths, seed)
        sources, targets = (
            part.to_tensor(pad_id, shape=[None, width])
            for part, width in zip(rows, self._widths(token_ids.shape[1]), strict=True)
        )
        return {"source_ids": sources, "token_ids": tf.where(lengths[:, None] > 0, targets, pad_id)}

    def predicted(self, batch: Batch) -> Batch:
        """All that the decoder writes."""
        return next_token_batch(batch, self.tokenizer.pad_id)

    def prompts(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> Cut:
        """The start token."""
        del max_new_tokens
        start = tf.fill([tf.size(text), 1], self.tokenizer.first_id)
        return whole(tf.RaggedTensor.from_tensor(start, row_splits_dtype=tf.int64))

    def sources(self, text: tf.Tensor) -> Cut:
        """The text with a mark for each blank, and the end token. Of a longer text the beginning; for prefix_lm the
        end."""
        if self.config.objective == "prefix_lm":
            rows, keep = self.tokenizer.tokenize(text), keep_last
        else:
            rows, keep = tokens_with_marks(self.tokenizer, split_at_blanks(text), self._mark_ids), keep_first
        limit = self.max_length - 1
        return Cut(join(keep(rows, limit), self.tokenizer.end_id), is_longer(rows, limit))

    def score_rows(self, inputs: dict[str, tf.Tensor]) -> tuple[Cut, tf.Tensor]:
        """`target` as the decoder would write it; for span_corruption that are the fillings with a blank between."""
        target, start = inputs["target"], self.tokenizer.first_id
        if self.config.objective == "span_corruption":
            fillings = split_at_blanks(target)
            parts = fillings_with_spaces(self.tokenizer, split_at_blanks(inputs["text"]), fillings)
            before = tf.RaggedTensor.from_tensor(tf.fill([parts.nrows(), tf.constant(1, tf.int64)], ""))
            rows = tokens_with_marks(self.tokenizer, tf.concat([before, parts], axis=1), self._mark_ids)
        else:
            rows = self.tokenizer.tokenize(target)
        rows = join(start, rows, self.tokenizer.end_id)
        return whole(rows), tf.ones([rows.nrows()], tf.int32)

    def suppressed_ids(self) -> tuple[int, ...]:
        """Sentinels are written; other special tokens are not."""
        written = self._mark_ids if self.config.objective == "span_corruption" else ()
        return tuple(index for index in super().suppressed_ids() if index not in written)

    @property
    def streams(self) -> bool:
        """Not where blanks are filled: what is generated first may be last."""
        return self.config.objective != "span_corruption"

    def answers(self, text: tf.Tensor, token_ids: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """The text with its blanks filled, where sentinels say what belongs where."""
        if self.config.objective != "span_corruption":
            return super().answers(text, token_ids, stop)
        fillings = tf.RaggedTensor.from_tensor(self._fillings(token_ids))
        return fill_blanks(self.tokenizer, split_at_blanks(text), fillings)

    def prompt_and_target(self, example: Mapping[str, str]) -> tuple[str, str]:
        """The text with a blank in place of its middle, and that middle."""
        if self.config.objective == "prefix_lm":
            return super().prompt_and_target(example)
        before, after = super().prompt_and_target(example)
        blank = after.find(" ", len(after) // 2)
        blank = blank if blank > 0 else len(after) // 2
        return f"{before}{' ' * after.startswith(' ')}{BLANK}{after[blank:]}", after[:blank].strip()

    def example_requests(self) -> dict[str, list[dict[str, list[Any]]]]:
        """Those of every text task, with blanks in them."""
        requests = super().example_requests()
        if self.config.objective != "prefix_lm":
            for request in (request for several in requests.values() for request in several):
                request["text"] = [f"{text} {BLANK}" for text in request["text"]]
        return requests

    def _sources_and_targets(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        config, tokenizer = self.config, self.tokenizer
        start, end = tokenizer.first_id, tokenizer.end_id
        if config.objective == "prefix_lm":
            separator = tokenizer.special_tokens["separator"]
            marks = {"start_id": start, "separator_id": separator, "end_id": end}
            return split_prefix(token_ids, lengths, seed, **marks)
        spans = random_spans(lengths, token_ids.shape[1], seed, config.noise_density, config.mean_span_length)
        sources = corrupted_sources(token_ids, lengths, spans, self._mark_ids, end)
        if config.objective == "infilling":
            rows = tf.RaggedTensor.from_tensor(token_ids, lengths=tf.cast(lengths, tf.int64))
            return sources, join(start, rows, end)
        return sources, missing_targets(token_ids, spans, self._mark_ids, start, end)

    def _fillings(self, token_ids: tf.Tensor) -> tf.Tensor:
        """The text after each sentinel, string [B, number of sentinels], for int32 [B, N]; a blank where one was not
        written. Text before the first is dropped, and texts after the same one are joined."""
        num_rows, num_marks = tf.shape(token_ids)[0], len(self._mark_ids)
        is_mark = tf.equal(token_ids[:, :, None], tf.constant(self._mark_ids))  # [B, N, marks]
        here = tf.reduce_any(is_mark, axis=2)
        # Counted through all rows, each token's last sentinel; of its own row where one came there already.
        last = tf.cumsum(tf.cast(tf.reshape(here, [-1]), tf.int32)) - 1
        blanks = num_marks * tf.range(num_rows)[:, None] + tf.argmax(is_mark, axis=2, output_type=tf.int32)
        kept = tf.reshape((tf.cumsum(tf.cast(here, tf.int32), axis=1) > 0) & ~here, [-1])
        blank = tf.gather(tf.boolean_mask(blanks, here), tf.boolean_mask(last, kept))
        order = tf.argsort(blank, stable=True)
        rows = tf.RaggedTensor.from_value_rowids(
            tf.gather(tf.boolean_mask(tf.reshape(token_ids, [-1]), kept), order),
            tf.cast(tf.gather(blank, order), tf.int64),
            nrows=tf.cast(num_rows * num_marks, tf.int64),
            validate=False,
        )
        texts = tf.reshape(self.tokenizer.detokenize(rows), [num_rows, num_marks])
        return tf.where(tf.reduce_any(is_mark, axis=1), texts, BLANK)

    def _widths(self, block_length: int) -> tuple[int | None, int | None]:
        """The places that a block takes as a source and as a target; None where that differs."""
        if self.config.objective == "prefix_lm":
            return None, None
        missing, spans = self._counts(block_length)
        source = block_length - missing + spans + 1
        if self.config.objective == "infilling":
            return source, block_length + 2
        return source, missing + spans + 2

    def _counts(self, block_length: int) -> tuple[int, int]:
        counts = count_spans(
            np.array([block_length]), self.config.noise_density, self.config.mean_span_length
        )
        return int(counts[0][0]), int(counts[1][0])

    def _longest_block(self) -> int:
        """Tokens of a block whose source has at most max_length places, and whose target one more: as inputs of the
        decoder it loses its last."""
        limits, length = (self.max_length, self.max_length + 1), 2 * self.max_length
        while any((width or 0) > limit for width, limit in zip(self._widths(length), limits, strict=True)):
            length -= 1
        return self.max_length if self.config.objective == "prefix_lm" else length

    def _find_marks(self) -> tuple[int, ...]:
        """The ids in place of missing spans; of sentinels all that the tokenizer has.

        Raises:
            UserError: special tokens are lacking.
        """
        objective, specials = self.config.objective, self.tokenizer.special_tokens
        sentinels = list(
            itertools.takewhile(specials.__contains__, map("sentinel_{}".format, itertools.count()))
        )
        num_sentinels = self._counts(self.block_length)[1] if objective == "span_corruption" else 0
        others = ["separator", "mask"] if objective == "infilling" else ["separator"]
        if len(sentinels) < num_sentinels or any(name not in specials for name in others):
            wanted = ", ".join(others + (["sentinel_0"] if num_sentinels else []))
            wanted += f" to sentinel_{num_sentinels - 1}" if num_sentinels > 1 else ""
            raise UserError(
                f"{objective} with model.max_length={self.max_length} needs a tokenizer with the special tokens "
                f"{wanted}; it has {list(specials)}. Train one with them in special_tokens."
            )
        names = {"span_corruption": sentinels, "infilling": ["mask"], "prefix_lm": []}[objective]
        return tuple(specials[name] for name in names)
