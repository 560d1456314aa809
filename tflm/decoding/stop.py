"""The `stop` setting: a text ends before the first of its stop texts, wherever the tokens part them."""

from collections.abc import Callable

import tensorflow as tf

_NEVER = r"[^\s\S]"  # a pattern that matches nothing


def has_stops(stop: tf.Tensor) -> tf.Tensor:
    """Which rows have a stop text: bool [B], for string [B, S], where "" is none."""
    return tf.reduce_any(stop != "", axis=1)


def cut_at_stop(text: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Each text up to the first place where one of its row's stop texts begins.

    >>> cut_at_stop([["ab\\nc", "abc"], ["你好。再见", ""]], [["\\n", "c"], ["。", ""]])
    [["ab", "ab"], ["你好", ""]]

    Args:
        text: string [B, N], UTF-8.
        stop: string [B, S]; "" is none.
    Returns:
        string [B, N].
    """
    return _cut(text, stop, lambda row: tf.strings.join(["(?s)(?:", _any_of(_quoted(row)), ").*"]))


def hold_back(text: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Each text without an end that may be the beginning of a stop text: what can be given out already.

    >>> hold_back([["one en"], ["句。"]], [["end", ""], ["。完", ""]])
    [["one "], ["句"]]

    Args:
        text: string [B, N], UTF-8, without a whole stop text in it.
        stop: string [B, S]; "" is none.
    Returns:
        string [B, N].
    """
    return _cut(text, stop, lambda row: tf.strings.join(["(?:", _any_of(_beginnings(row)), ")$"]))


def _cut(text: tf.Tensor, stop: tf.Tensor, pattern_fn: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The texts without what the pattern of their row matches."""
    patterns = tf.map_fn(pattern_fn, stop, fn_output_signature=tf.TensorSpec([], tf.string))
    return tf.map_fn(
        lambda row: tf.raw_ops.RegexReplace(input=row[0], pattern=row[1], rewrite="", replace_global=False),
        (text, patterns),
        fn_output_signature=tf.TensorSpec([None], tf.string),
    )


def _quoted(texts: tf.Tensor) -> tf.Tensor:
    """Texts as patterns that match them alone."""
    return tf.strings.regex_replace(texts, r"([\\^$.|?*+()\[\]{}\-])", r"\\\1")


def _any_of(patterns: tf.Tensor) -> tf.Tensor:
    """One pattern for string [S], where "" is none; the longest of those that begin at one place is not needed."""
    given = tf.boolean_mask(patterns, patterns != "")
    return tf.strings.reduce_join(tf.concat([given, [_NEVER]], axis=0), separator="|")


def _beginnings(texts: tf.Tensor) -> tf.Tensor:
    """Patterns that match every beginning of a text but the whole of it, string [S]; "" where it has one character.

    "end" to "e(?:n)?", for the texts "e" and "en".
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
