"""The signatures `attribute` and `attention` of tasks that find spans: tagging, and question answering."""

from typing import Any, NamedTuple

import tensorflow as tf

from tflm.layers import probing
from tflm.tasks.features.attribution import log_odds
from tflm.tasks.features.best_spans import LOWEST, best_spans
from tflm.tasks.features.context_tokens import ContextTokens, context_tokens, of_tokens
from tflm.tasks.features.probes import ScalingProbe
from tflm.tasks.features.rows import is_longer, join, keep_first
from tflm.tasks.features.token_places import TokenPlaces, joined_places, token_places
from tflm.tasks.features.windows import Windows
from tflm.tasks.signatures.explanations import (
    METHOD,
    NUM_STEPS,
    ExplainedRows,
    Targets,
    attention_outputs,
    explain_targets,
    has_attention,
    is_special,
    target_outputs,
    token_outputs,
)
from tflm.tasks.signatures.writer import Signature, signature
from tflm.tasks.task import TEXT
from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.token_offsets import changes, token_offsets


def tag_explanations(task: Any, model: Any) -> dict[str, Signature]:
    """`attribute` of every span that is found, and `attention` of a Transformer; of a text that is longer than a
    window, in its first window. The score of a span is the mean of the log odds of its tokens' tags.

    Args:
        task: a `Tagging`.
        model: a trained tagger.
    """

    def read(inputs: dict[str, tf.Tensor]) -> ExplainedRows:
        ids, starts, ends = token_offsets(task.tokenizer, inputs["text"])
        room = task.max_length - 2
        starts, ends = (join(-1, keep_first(each, room), -1).to_tensor(-1) for each in (starts, ends))
        rows = join(task.tokenizer.first_id, keep_first(ids, room), task.tokenizer.end_id)
        token_ids = rows.to_tensor(task.tokenizer.pad_id)
        is_text = ~is_special(task.tokenizer, token_ids)
        places = TokenPlaces(tf.where(is_text, 0, -1), starts, ends)
        return ExplainedRows(token_ids, places, is_text, is_longer(ids, room))

    def attribute(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = read(inputs)
        tags = tf.argmax(model(rows.token_ids, training=False), axis=-1, output_type=tf.int32)
        found = _tagged_spans(tags, rows.places)
        names = tf.gather(tf.constant(task.labels), tf.maximum(found.tag - 1, 0) // 2)
        targets = Targets(names, found.start, found.end, found.start >= 0)

        def score(scales: tf.Tensor, row: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            token_ids = tf.gather(rows.token_ids, row)
            with probing(ScalingProbe([scales])):
                logits = model(token_ids, training=False)
            flat = tf.reshape(logits, [-1, logits.shape[-1]])
            odds = log_odds(flat, tf.reshape(tf.gather(tags, row), [-1]))
            is_own = tf.equal(tf.gather(found.span_of, row), number[:, None])
            share = tf.cast(is_own, tf.float32)
            share /= tf.maximum(tf.reduce_sum(share, axis=1, keepdims=True), 1.0)
            return tf.reduce_sum(tf.reshape(odds, tf.shape(token_ids)) * share, axis=1)

        return {
            **token_outputs(task.tokenizer, rows),
            **target_outputs(targets),
            **explain_targets(score, rows, targets, inputs),
        }

    def attention(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = read(inputs)
        mask = tf.not_equal(rows.token_ids, task.tokenizer.pad_id)
        found = attention_outputs(lambda: model(rows.token_ids, training=False), mask)
        return {**token_outputs(task.tokenizer, rows), **found}

    return _signatures(model, [TEXT], attribute, attention)


class _TaggedSpans(NamedTuple):
    """The spans of B rows, padded to N; int32 each."""

    span_of: tf.Tensor
    """[B, T], the number of the span that a token is of, -1 for none."""
    start: tf.Tensor
    """[B, N], characters; -1 for padding."""
    end: tf.Tensor
    tag: tf.Tensor
    """[B, N], the tag of the first token."""


def _tagged_spans(tags: tf.Tensor, places: TokenPlaces) -> _TaggedSpans:
    """The spans that `tag` gives for these tags, int32 [B, T]."""
    cells = tf.cast(tf.where(places.start >= 0), tf.int32)
    row = cells[:, 0]
    tag, start, end = (tf.gather_nd(values, cells) for values in (tags, places.start, places.end))
    labels = (tag + 1) // 2
    inside = labels > 0
    begins = inside & (tf.equal(tag % 2, 1) | changes(labels) | changes(row))
    counts = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int32), row, tf.shape(tags)[0])
    before = tf.gather(tf.cumsum(counts, exclusive=True), row)
    number = tf.cumsum(tf.cast(begins, tf.int32)) - 1 - before
    size = tf.maximum(tf.reduce_max(counts), 1)
    shape = tf.stack([tf.shape(tags)[0], size])
    cell = tf.boolean_mask(row * size + number, inside)

    def of_spans(values: tf.Tensor, reduce_fn: Any) -> tf.Tensor:
        return tf.reshape(reduce_fn(tf.boolean_mask(values, inside), cell, shape[0] * size), shape)

    is_real = tf.range(size)[None] < counts[:, None]
    most, least = tf.math.unsorted_segment_max, tf.math.unsorted_segment_min
    first = tf.where(begins, tag, tf.int32.max)
    return _TaggedSpans(
        tf.scatter_nd(cells, tf.where(inside, number + 1, 0), tf.shape(tags)) - 1,
        tf.where(is_real, of_spans(start, least), -1),
        tf.where(is_real, of_spans(end, most), -1),
        tf.where(is_real, of_spans(first, least), 0),
    )


def answer_explanations(task: Any, model: Any, specs: list[tf.TensorSpec]) -> dict[str, Signature]:
    """`attribute` of the best span of each question, in the window of the context where it was found, and `attention`
    of a Transformer there. The score of a span is the sum of the log odds of its start and of its end.

    Args:
        task: a `QuestionAnswering`.
        model: trained for it.
        specs: `question` and `context`.
    """

    def attribute(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read = _read_answer(task, model, inputs)
        rows = read.rows

        def score(scales: tf.Tensor, row: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            del number
            with probing(ScalingProbe([scales])):
                logits = task._logits(
                    model, tf.gather(rows.token_ids, row), tf.gather(read.prefix_length, row), training=False
                )
            logits = tf.where(tf.gather(read.allowed, row)[:, :, None], logits, LOWEST)
            sides = ((0, read.first), (1, read.last))
            return tf.add_n([log_odds(logits[:, :, side], tf.gather(place, row)) for side, place in sides])

        targets = read.targets
        return {
            **token_outputs(task.tokenizer, rows),
            **target_outputs(targets),
            **explain_targets(score, rows, targets, inputs),
        }

    def attention(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read = _read_answer(task, model, inputs)
        token_ids = read.rows.token_ids
        found = attention_outputs(
            lambda: task._logits(model, token_ids, read.prefix_length, training=False),
            tf.not_equal(token_ids, task.tokenizer.pad_id),
        )
        return {**token_outputs(task.tokenizer, read.rows), **found}

    return _signatures(model, specs, attribute, attention)


class _AnswerRows(NamedTuple):
    """The window of each of B questions that has its best span."""

    rows: ExplainedRows
    prefix_length: tf.Tensor
    allowed: tf.Tensor
    """bool [B, T], where a span may start and end."""
    first: tf.Tensor
    """int32 [B], the place of the span's first token in its row."""
    last: tf.Tensor
    targets: Targets
    """One for each question; none where the context has nothing to answer with."""


def _read_answer(task: Any, model: Any, inputs: dict[str, tf.Tensor]) -> _AnswerRows:
    question, context = inputs["question"], inputs["context"]
    asked, tokens = task.tokenizer.tokenize(question), context_tokens(task.tokenizer, context)
    windows = task._windows(asked, tokens)
    logits = task._logits(model, windows.token_ids, windows.prefix_length, training=False)
    allowed = task._allowed(tokens, windows)
    inside, _ = windows.context_places()
    best = best_spans(logits[..., 0], logits[..., 1], allowed & inside, task.config.max_answer_length, 1)
    score = best.score[:, 0]
    highest = tf.math.unsorted_segment_max(score, windows.row, tf.shape(question)[0])
    number = tf.range(tf.size(score))
    is_best = tf.equal(score, tf.gather(highest, windows.row))
    chosen = tf.math.unsorted_segment_min(
        tf.where(is_best, number, tf.int32.max), windows.row, tf.shape(question)[0]
    )
    first, last = (tf.gather(place[:, 0], chosen) for place in (best.start, best.end))
    own = Windows(*(tf.gather(values, chosen) for values in windows))
    places = _answer_places(task, question, tokens, own)
    start = tf.gather(places.start, first, batch_dims=1)
    end = tf.gather(places.end, last, batch_dims=1)
    clean = replace_invalid_utf8(context)
    is_real = highest > LOWEST / 2
    size = tf.where(is_real, end - start, 0)
    text = tf.strings.substr(clean, tf.where(is_real, start, 0), size, unit="UTF8_CHAR")
    targets = Targets(*(values[:, None] for values in (text, start, end, is_real)))
    is_text = ~is_special(task.tokenizer, own.token_ids)
    rows = ExplainedRows(own.token_ids, places, is_text, is_longer(asked, task.config.max_question_length))
    return _AnswerRows(rows, own.prefix_length, tf.gather(allowed, chosen), first, last, targets)


def _answer_places(task: Any, question: tf.Tensor, tokens: ContextTokens, windows: Windows) -> TokenPlaces:
    """Part 0 is the question, part 1 the context."""
    inside, number = windows.context_places()
    is_text = ~is_special(task.tokenizer, windows.token_ids)
    asked = token_places(task.tokenizer, windows.token_ids, question, 0, is_text & ~inside)
    asked = asked._replace(part=tf.where(is_text & ~inside, 0, -1))
    row = windows.row[:, None]
    start, end = (
        tf.where(inside, of_tokens(values, row, number, 0), -1) for values in (tokens.starts, tokens.ends)
    )
    return joined_places(asked, TokenPlaces(tf.where(inside, 1, -1), start, end))


def _signatures(
    model: Any, specs: list[tf.TensorSpec], attribute: Any, attention: Any
) -> dict[str, Signature]:
    made = {"attribute": signature([*specs, METHOD, NUM_STEPS], attribute)}
    return made | ({"attention": signature(specs, attention)} if has_attention(model) else {})
