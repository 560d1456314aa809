"""The best spans of rows of start and end scores, and of windows joined. In graph."""

from typing import NamedTuple

import tensorflow as tf

LOWEST = -1e9
"""The score of what cannot be; every score of a span that can be is far above it."""


class ScoredSpans(NamedTuple):
    """M spans of each row, the best first."""

    score: tf.Tensor
    """float32 [N, M]; about `LOWEST` where there is no further span."""
    start: tf.Tensor
    """int32 [N, M], the place of the first token."""
    end: tf.Tensor
    """int32 [N, M], the place of the last token."""

    def is_real(self) -> tf.Tensor:
        """bool [N, M]."""
        return self.score > LOWEST / 2


def best_spans(
    start: tf.Tensor, end: tf.Tensor, allowed: tf.Tensor, max_length: int, num_spans: int
) -> ScoredSpans:
    """The spans whose start and end scores have the greatest sum (Devlin et al., 2019, section 4.2).

    >>> best_spans([[1.0, 0.0, 5.0]], [[0.0, 3.0, 1.0]], [[True, True, True]], max_length=2, num_spans=2)
    score [[6.0, 4.0]], start [[2, 0]], end [[2, 1]]

    Args:
        start, end: float32 [N, T].
        allowed: bool [N, T], places where a span may start and where it may end.
        max_length: int, the greatest number of places in a span.
        num_spans: int, M.
    """
    start, end = (tf.where(allowed, scores, LOWEST) for scores in (start, end))
    width = tf.shape(start)[1]
    padded = tf.pad(end, [[0, 0], [0, max_length]], constant_values=LOWEST)
    reach = tf.range(width)[:, None] + tf.range(max_length)[None]
    sums = tf.maximum(start[:, :, None] + tf.gather(padded, reach, axis=1), LOWEST)
    sums = tf.reshape(sums, [tf.shape(start)[0], width * max_length])
    sums = tf.pad(sums, [[0, 0], [0, num_spans]], constant_values=LOWEST)
    score, place = tf.math.top_k(sums, num_spans)
    first = tf.minimum(place // max_length, width - 1)
    return ScoredSpans(score, first, tf.minimum(first + place % max_length, width - 1))


def join_windows(spans: ScoredSpans, row: tf.Tensor, num_rows: tf.Tensor) -> ScoredSpans:
    """The best of all windows of a row.

    >>> join_windows(ScoredSpans([[6.0], [7.0]], [[2], [4]], [[2], [5]]), row=[0, 0], num_rows=1)
    score [[7.0]], start [[4]], end [[5]]

    Args:
        spans: M of each of N windows, their places counted as all windows of a row count them.
        row: int32 [N], the row that each window belongs to, rising; each row has one at least.
        num_rows: int32 scalar, B.
    Returns:
        M of each row.
    """
    num_spans = spans.score.shape[1]

    def joined(values: tf.Tensor, filling: float) -> tf.Tensor:
        rows = tf.RaggedTensor.from_value_rowids(
            values, tf.cast(row, tf.int64), tf.cast(num_rows, tf.int64), validate=False
        )
        return tf.reshape(rows.to_tensor(filling), [num_rows, -1])

    score, place = tf.math.top_k(joined(spans.score, LOWEST), num_spans)
    start, end = (tf.gather(joined(values, 0), place, batch_dims=1) for values in (spans.start, spans.end))
    return ScoredSpans(score, start, end)


def keep_distinct(texts: tf.Tensor, real: tf.Tensor, count: int) -> tf.Tensor:
    """The places of the first `count` distinct texts; then those of the others.

    >>> keep_distinct([["a", "b", "a", "c"]], [[True, True, True, True]], 3)
    [[0, 1, 3]], [[True, True, True]]

    Args:
        texts: string [B, M], M at least `count`.
        real: bool [B, M]; the others never count.
    Returns:
        int32 [B, count], and bool [B, count], whether a real and new text is there.
    """
    number = tf.range(tf.shape(texts)[1])
    before = number[None] < number[:, None]
    same = tf.equal(texts[:, :, None], texts[:, None]) & before & real[:, None]
    new = real & ~tf.reduce_any(same, axis=2)
    order = tf.argsort(tf.cast(~new, tf.int32), axis=1, stable=True)[:, :count]
    return order, tf.gather(new, order, batch_dims=1)
