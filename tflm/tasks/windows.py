"""A question beside a long context: rows of one length each, windows of the context that overlap. In graph."""

from typing import NamedTuple

import tensorflow as tf


class Windows(NamedTuple):
    """N rows for B questions, those of a question one after the other."""

    token_ids: tf.Tensor
    """int32 [N, T], [start] question [separator] part of the context [end], padded with 0."""
    prefix_length: tf.Tensor
    """int32 [N], how many tokens stand before the part of the context."""
    row: tf.Tensor
    """int32 [N], the question that each belongs to, rising."""
    first: tf.Tensor
    """int32 [N], where the part begins, in tokens of the context."""
    count: tf.Tensor
    """int32 [N], how many tokens it has."""

    def context_places(self) -> tuple[tf.Tensor, tf.Tensor]:
        """For every place: bool [N, T], whether a token of the context stands there; int32 [N, T], its number in the
        context, 0 for others."""
        place = tf.range(tf.shape(self.token_ids)[1])[None] - self.prefix_length[:, None]
        inside = (place >= 0) & (place < self.count[:, None])
        return inside, tf.where(inside, self.first[:, None] + place, 0)

    def segment_ids(self) -> tf.Tensor:
        """int32 [N, T]: 0 for the question, 1 from the context on."""
        return segment_ids(self.token_ids, self.prefix_length)


def segment_ids(token_ids: tf.Tensor, prefix_length: tf.Tensor) -> tf.Tensor:
    """int32 [N, T]: 0 for the first `prefix_length` int32 [N] places of a row, 1 after them."""
    return tf.cast(tf.range(tf.shape(token_ids)[1])[None] >= prefix_length[:, None], tf.int32)


def cut_windows(
    question: tf.RaggedTensor,
    context: tf.RaggedTensor,
    max_length: int,
    stride: int,
    marks: tuple[int, int, int],
) -> Windows:
    """As many windows as the context needs, each `stride` tokens after the one before (Devlin et al., 2019, section
    4.2, in their program `doc_stride`). A context that fits has one; so has an empty one.

    >>> cut_windows([[7, 8]], [[20, 21, 22, 23, 24]], max_length=8, stride=2, marks=(1, 4, 2)).token_ids
    [[1, 7, 8, 4, 20, 21, 22, 2], [1, 7, 8, 4, 22, 23, 24, 2]]

    Args:
        question: int32 [B, (Q)], already cut; `max_length` - 3 - Q is at least `stride`, or tokens are passed over.
        context: int32 [B, (C)].
        max_length: int, the longest row.
        stride: int, at least 1.
        marks: ids of start, separator and end.
    """
    question_size, size = (tf.cast(rows.row_lengths(), tf.int32) for rows in (question, context))
    room = max_length - 3 - question_size
    num_windows = 1 + (tf.maximum(size - room, 0) + stride - 1) // stride
    row = tf.repeat(tf.range(tf.size(num_windows)), num_windows)
    number = tf.range(tf.size(row)) - tf.gather(tf.cumsum(num_windows, exclusive=True), row)
    first = number * stride
    count = tf.minimum(tf.gather(room, row), tf.gather(size, row) - first)
    asked = tf.gather(question_size, row)
    place = tf.range(tf.reduce_max(asked + count) + 3)[None]
    start, separator, end = marks
    in_context = place - (asked + 2)[:, None]
    from_question = _gathered(question, row, place - 1)
    from_context = _gathered(context, row, in_context + first[:, None])
    token_ids = tf.where(in_context < count[:, None], from_context, 0)
    token_ids = tf.where(tf.equal(in_context, count[:, None]), end, token_ids)
    token_ids = tf.where(in_context < 0, separator, token_ids)
    token_ids = tf.where(in_context < -1, from_question, token_ids)
    token_ids = tf.where(tf.equal(place, 0), start, token_ids)
    return Windows(token_ids, asked + 2, row, first, count)


def _gathered(rows: tf.RaggedTensor, row: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """int32 [N, T]: what stands at each place of a row; anything where there is no such place."""
    values = tf.concat([rows.flat_values, [0]], axis=0)
    index = tf.gather(tf.cast(rows.row_starts(), tf.int32), row)[:, None] + place
    return tf.gather(values, tf.clip_by_value(index, 0, tf.size(values) - 1))
