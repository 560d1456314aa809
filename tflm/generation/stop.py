"""Stop strings: the text ends before the first of them, wherever token boundaries fall."""

from collections.abc import Callable

import tensorflow as tf

from tflm.generation.rows import Rows
from tflm.generation.state import GenerationState, TextFn, Vocabulary

_NEVER = r"[^\s\S]"  # a pattern that matches nothing
# Traced once for all signatures: text string [B, N] and stop string [B, S].
_traced_once = tf.function(input_signature=[tf.TensorSpec([None, None], tf.string)] * 2, autograph=False)


def has_stops(stop: tf.Tensor) -> tf.Tensor:
    """Which rows have a stop string: bool [B], for string [B, S], padded with ""."""
    return tf.reduce_any(stop != "", axis=1)


@_traced_once
def cut_at_stop(text: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Each text up to the first occurrence of one of its row's stop strings.

    >>> cut_at_stop([["ab\\nc", "abc"], ["你好。再见", ""]], [["\\n", "c"], ["。", ""]])
    [["ab", "ab"], ["你好", ""]]

    Args:
        text: string [B, N], UTF-8.
        stop: string [B, S], padded with "".
    Returns:
        string [B, N].
    """
    return _remove(text, stop, lambda row: tf.strings.join(["(?s)(?:", _any_of(_quoted(row)), ").*"]))


@_traced_once
def hold_back(text: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Each text without a suffix that may be the prefix of a stop string: the part that can be streamed already.

    >>> hold_back([["one en"], ["句。"]], [["end", ""], ["。完", ""]])
    [["one "], ["句"]]

    Args:
        text: string [B, N], UTF-8, without a complete stop string.
        stop: string [B, S], padded with "".
    Returns:
        string [B, N].
    """
    return _remove(text, stop, lambda row: tf.strings.join(["(?:", _any_of(_prefixes(row)), ")$"]))


def stop_rows(state: GenerationState, vocabulary: Vocabulary, num_seen: tf.Tensor) -> GenerationState:
    """Ends each row whose text has a stop string at the token that completes it.

    A finished text is searched to its end, any other one as far as no later token can change it.

    Args:
        state: the generation state.
        vocabulary: without its `text_fn` nothing is searched.
        num_seen: int32 scalar, steps that were searched before.
    """
    text_fn = vocabulary.text_fn
    if text_fn is None:
        return state
    has_stop = tf.reduce_any(has_stops(state.settings["stop"]))
    return tf.cond(has_stop, lambda: _stop_rows(state, text_fn, vocabulary.pad_id, num_seen), lambda: state)


def _stop_rows(state: GenerationState, text_fn: TextFn, pad_id: int, num_seen: tf.Tensor) -> GenerationState:
    rows = state.rows
    lengths = tf.range(num_seen, state.num_steps) + 1  # number of tokens of each prefix: int32 [L]
    num_tokens = _num_tokens_at_stop(state, text_fn, pad_id, lengths)
    stops = num_tokens < tf.int32.max
    columns = tf.range(tf.shape(state.token_ids)[1])
    is_kept = ~stops[:, None] | (columns[None] < num_tokens[:, None])
    log_probabilities = tf.where(is_kept, state.log_probabilities, 0.0)
    rows = Rows(
        token_ids=tf.where(stops, pad_id, rows.token_ids),
        is_running=rows.is_running & ~stops,
        has_ended=rows.has_ended & ~stops,
        has_stopped=rows.has_stopped | stops,
        num_tokens=tf.minimum(rows.num_tokens, num_tokens),
        # A cumulative sum adds in the same order as the loop.
        log_probability=tf.where(stops, tf.cumsum(log_probabilities, axis=1)[:, -1], rows.log_probability),
    )
    token_ids = tf.where(is_kept, state.token_ids, -1)
    return state._replace(rows=rows, token_ids=token_ids, log_probabilities=log_probabilities)


def _num_tokens_at_stop(
    state: GenerationState, text_fn: TextFn, pad_id: int, lengths: tf.Tensor
) -> tf.Tensor:
    """The smallest of `lengths` int32 [L] at which a row's text has a stop string: int32 [B], the largest int32 where
    none has."""
    rows, columns = state.rows, tf.range(tf.shape(state.token_ids)[1])
    is_in = (columns[None] < lengths[:, None])[None] & (state.token_ids >= 0)[:, None]  # [B, L, N]
    token_ids = tf.where(is_in, state.token_ids[:, None], pad_id)
    num_steps = rows.num_tokens + tf.cast(rows.has_ended, tf.int32)  # the end token took one
    finished = ~rows.is_running[:, None] & (num_steps[:, None] <= lengths[None])
    shape = tf.shape(token_ids)
    texts = text_fn(tf.reshape(token_ids, [-1, shape[2]]), tf.reshape(finished, [-1]))
    texts = tf.reshape(texts, shape[:2])
    has_stop = tf.not_equal(texts, cut_at_stop(texts, state.settings["stop"]))
    return tf.reduce_min(tf.where(has_stop, lengths[None], tf.int32.max), axis=1)


def _remove(text: tf.Tensor, stop: tf.Tensor, pattern_fn: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The texts without the match of their row's pattern."""
    patterns = tf.map_fn(pattern_fn, stop, fn_output_signature=tf.TensorSpec([], tf.string))
    return tf.map_fn(
        lambda row: tf.raw_ops.RegexReplace(input=row[0], pattern=row[1], rewrite="", replace_global=False),
        (text, patterns),
        fn_output_signature=tf.TensorSpec([None], tf.string),
    )


def _quoted(texts: tf.Tensor) -> tf.Tensor:
    """Patterns that match exactly these texts."""
    return tf.strings.regex_replace(texts, r"([\\^$.|?*+()\[\]{}\-])", r"\\\1")


def _any_of(patterns: tf.Tensor) -> tf.Tensor:
    """One pattern that matches any of string [S], padded with "". Which of several matches at one position is found
    does not matter."""
    given = tf.boolean_mask(patterns, patterns != "")
    return tf.strings.reduce_join(tf.concat([given, [_NEVER]], axis=0), separator="|")


def _prefixes(texts: tf.Tensor) -> tf.Tensor:
    """Patterns that match every proper prefix of a text, string [S]; "" where it has one character.

    "end" becomes "e(?:n)?", which matches "e" and "en".
    """
    parts = _quoted_rows(tf.strings.unicode_split(texts, "UTF-8"))[:, :-1]
    lengths = tf.cast(parts.row_lengths(), tf.int32)
    opened = tf.strings.reduce_join(parts, axis=1, separator="(?:")
    closing = tf.strings.reduce_join(
        tf.ragged.range(tf.maximum(lengths - 1, 0)).with_values(
            tf.fill([tf.reduce_sum(tf.maximum(lengths - 1, 0))], ")?")
        ),
        axis=1,
    )
    return tf.where(lengths > 0, tf.strings.join([opened, closing]), "")


def _quoted_rows(rows: tf.RaggedTensor) -> tf.RaggedTensor:
    return rows.with_values(_quoted(rows.values))
