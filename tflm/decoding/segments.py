"""The loop itself: one token a step, in segments of fixed shapes; between two, more room, stop texts, sliding."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.decoding.progress import LanguageModel, Progress, TextFn, Vocabulary, open_specs
from tflm.decoding.rows import Rows, Rules, append_token
from tflm.decoding.slide import room_before_sliding, slide_full_rows
from tflm.decoding.stop import cut_at_stop, has_stops
from tflm.decoding.uniforms import uniforms

_STOP_INTERVAL = 8
"""Steps between two looks for stop texts. What comes after a stop text within them is thrown away."""

Segment = Callable[[dict[str, Any], tf.Tensor, tf.Tensor], dict[str, Any]]


def run_segments(
    model: LanguageModel,
    progress: Progress,
    vocabulary: Vocabulary,
    end: tf.Tensor,
    segment_length: int,
    max_total_length: int | None,
    compiled: bool,
) -> Progress:
    """Goes on until `end` tokens stand behind the prompt, or every row has stopped.

    Args:
        end: int32 scalar, no larger than the largest limit.
        segment_length: steps for which room is made at once.
        max_total_length: where rows slide that do; None if none can.
        compiled: whether a segment is compiled by XLA. Room is then always made for a whole segment, so that there are
            few shapes.
    """
    run = _segment(model, progress.rules(vocabulary), compiled)
    has_stop = tf.reduce_any(has_stops(progress.settings["stop"]))
    longest = tf.where(has_stop, min(_STOP_INTERVAL, segment_length), segment_length)

    def body(*flat: tf.Tensor) -> list[tf.Tensor]:
        now = progress._replace(**tf.nest.pack_sequence_as(template, flat))
        before = now.num_steps
        if max_total_length is not None:
            now = slide_full_rows(model, now, vocabulary.pad_id, max_total_length, compiled)
        left, room = end - before, tf.shape(now.token_ids)[1] - before
        more = tf.where(room > 0, 0, segment_length if compiled else tf.minimum(segment_length, left))
        now = now.with_room(model, more)
        length = tf.minimum(tf.minimum(longest, left), room + more)
        if max_total_length is not None:
            length = tf.minimum(length, room_before_sliding(now, max_total_length))
        numbers = draw(now.settings, before, segment_length if compiled else length)
        now = now._replace(**run(now.moving(), numbers, length))
        return _shaped(tf.nest.flatten(stop_rows(now, vocabulary, before).moving()), shapes)

    def goes_on(*flat: tf.Tensor) -> tf.Tensor:
        now = tf.nest.pack_sequence_as(template, flat)
        return (now["num_steps"] < end) & tf.reduce_any(now["rows"].is_running)

    template = open_specs(model, progress).moving()
    shapes = [spec.shape for spec in tf.nest.flatten(template)]
    flat = tf.while_loop(goes_on, body, tf.nest.flatten(progress.moving()), shape_invariants=shapes)
    return progress._replace(**tf.nest.pack_sequence_as(template, flat))


def _segment(model: LanguageModel, rules: Rules, compiled: bool) -> Segment:
    """A function of what moves of a Progress with room, random numbers float64 [L, B] and how many steps to make, at
    most L; it gives what moves."""

    def run(moving: dict[str, Any], numbers: tf.Tensor, length: tf.Tensor) -> dict[str, Any]:
        start = moving["num_steps"]

        def goes_on(moving: dict[str, Any]) -> tf.Tensor:
            return (moving["num_steps"] < start + length) & tf.reduce_any(moving["rows"].is_running)

        def body(moving: dict[str, Any]) -> tuple[dict[str, Any]]:
            rows, token_ids, place = moving["rows"], moving["token_ids"], moving["num_steps"]
            logits, state = model.step(rows.token_ids[:, None], moving["model_state"], last_only=True)
            uniform = numbers[place - start]
            rows, new_ids, new_log_probabilities = append_token(
                rows, token_ids, logits[:, -1], uniform, rules
            )
            is_here = (tf.range(tf.shape(token_ids)[1]) == place)[None]
            moved = {
                "model_state": state,
                "rows": rows,
                "num_read": moving["num_read"] + 1,
                "token_ids": tf.where(is_here, new_ids[:, None], token_ids),
                "log_probabilities": tf.where(
                    is_here, new_log_probabilities[:, None], moving["log_probabilities"]
                ),
                "num_steps": place + 1,
            }
            _shaped(tf.nest.flatten(moved), [leaf.shape for leaf in tf.nest.flatten(moving)])
            return (moved,)

        return tf.while_loop(goes_on, body, (moving,))[0]

    return tf.function(run, autograph=False, jit_compile=True) if compiled else run


def _shaped(leaves: list[tf.Tensor], shapes: list[tf.TensorShape]) -> list[tf.Tensor]:
    """The tensors, which have these static shapes, also where TensorFlow could not tell."""
    for leaf, shape in zip(leaves, shapes, strict=True):
        leaf.set_shape(shape)
    return leaves


def draw(settings: Any, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Random numbers for tokens `start` and on: float64 [count, B], zeros when every row is greedy."""
    seed = settings["seed"]
    return tf.cond(
        tf.reduce_any(settings["temperature"] > 0.0),
        lambda: tf.transpose(uniforms(seed, start, count)),
        lambda: tf.zeros([count, tf.size(seed)], tf.float64),
    )


def stop_rows(progress: Progress, vocabulary: Vocabulary, num_seen: tf.Tensor) -> Progress:
    """Rows whose text has a stop text end at the token that completed it; the first `num_seen` were looked at before.

    A text that has finished is looked through to its end; of another one what no later token will change.
    """
    text_fn = vocabulary.text_fn
    if text_fn is None:
        return progress
    has_stop = tf.reduce_any(has_stops(progress.settings["stop"]))
    return tf.cond(
        has_stop, lambda: _stop_rows(progress, text_fn, vocabulary.pad_id, num_seen), lambda: progress
    )


def _stop_rows(progress: Progress, text_fn: TextFn, pad_id: int, num_seen: tf.Tensor) -> Progress:
    rows = progress.rows
    counts = tf.range(num_seen, progress.num_steps) + 1  # tokens of each beginning: int32 [L]
    columns = tf.range(tf.shape(progress.token_ids)[1])
    is_in = (columns[None] < counts[:, None])[None] & (progress.token_ids >= 0)[:, None]  # [B, L, N]
    token_ids = tf.where(is_in, progress.token_ids[:, None], pad_id)
    num_steps = rows.num_tokens + tf.cast(rows.has_ended, tf.int32)  # the end token took one
    finished = ~rows.is_running[:, None] & (num_steps[:, None] <= counts[None])
    shape = tf.shape(token_ids)
    texts = text_fn(tf.reshape(token_ids, [-1, shape[2]]), tf.reshape(finished, [-1]))
    texts = tf.reshape(texts, shape[:2])
    has_stop = tf.not_equal(texts, cut_at_stop(texts, progress.settings["stop"]))
    first = tf.where(has_stop, counts[None], tf.int32.max)
    num_tokens = tf.reduce_min(first, axis=1)
    stops = num_tokens < tf.int32.max
    is_kept = ~stops[:, None] | (columns[None] < num_tokens[:, None])
    log_probabilities = tf.where(is_kept, progress.log_probabilities, 0.0)
    rows = Rows(
        token_ids=tf.where(stops, pad_id, rows.token_ids),
        is_running=rows.is_running & ~stops,
        has_ended=rows.has_ended & ~stops,
        has_stopped=rows.has_stopped | stops,
        num_tokens=tf.minimum(rows.num_tokens, num_tokens),
        # One after the other, as the loop adds them up.
        log_probability=tf.where(stops, tf.cumsum(log_probabilities, axis=1)[:, -1], rows.log_probability),
    )
    token_ids = tf.where(is_kept, progress.token_ids, -1)
    return progress._replace(rows=rows, token_ids=token_ids, log_probabilities=log_probabilities)
