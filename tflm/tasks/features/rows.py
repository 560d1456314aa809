"""Rows of token ids, cut and joined inside the graph."""

from typing import NamedTuple

import tensorflow as tf


class Cut(NamedTuple):
    """Rows of token ids that a model reads, and whether something of their text was left out."""

    rows: tf.RaggedTensor
    """int32 [B, (T)]."""
    truncated: tf.Tensor
    """bool [B]."""


def whole(rows: tf.RaggedTensor) -> Cut:
    """Rows of which nothing was left out."""
    return Cut(rows, tf.zeros([tf.cast(rows.nrows(), tf.int32)], tf.bool))


def is_longer(rows: tf.RaggedTensor, count: int | tf.Tensor) -> tf.Tensor:
    """Which rows have more than `count` ids, int or int32 [B]: bool [B]."""
    return tf.cast(rows.row_lengths(), tf.int32) > count


def keep_first(rows: tf.RaggedTensor, count: int | tf.Tensor) -> tf.RaggedTensor:
    """The first `count` ids of each row.

    >>> keep_first([[1, 2, 3], [4]], 2)
    [[1, 2], [4]]

    Args:
        rows: int32 [B, (T)].
        count: int, or int32 [B].
    """
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    return keep_between(rows, tf.zeros_like(lengths), tf.minimum(lengths, count))


def keep_last(rows: tf.RaggedTensor, count: int | tf.Tensor) -> tf.RaggedTensor:
    """The last `count` ids of each row.

    >>> keep_last([[1, 2, 3], [4]], 2)
    [[2, 3], [4]]

    Args:
        rows: int32 [B, (T)].
        count: int, or int32 [B].
    """
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    return keep_between(rows, tf.maximum(lengths - count, 0), lengths)


def join(*parts: tf.RaggedTensor | int | None) -> tf.RaggedTensor:
    """Rows joined side by side; a number is a column of itself, None is nothing, such as the start token of a
    vocabulary without one.

    >>> join(1, [[7, 8], [9]], 2)
    [[1, 7, 8, 2], [1, 9, 2]]

    By flat index: `tf.concat` of ragged tensors is hundreds of ops, and so was most of an export's graph.
    """
    parts = tuple(part for part in parts if part is not None)
    rows = [part for part in parts if isinstance(part, tf.RaggedTensor)]
    splits = [tf.cast(part.row_splits, tf.int32) for part in rows]
    num_rows = tf.size(splits[0]) - 1
    numbers = tf.constant([part for part in parts if not isinstance(part, tf.RaggedTensor)], rows[0].dtype)
    values = tf.concat([*(part.flat_values for part in rows), numbers], axis=0)
    # Where in `values` each part of each row begins and ends, int32 [B, number of parts].
    ends = [tf.size(part.flat_values) for part in rows]
    number = sum(ends)
    begins, limits, offset = [], [], 0
    for part in parts:
        if isinstance(part, tf.RaggedTensor):
            split, begin = splits.pop(0), offset
            begins.append(split[:-1] + begin)
            limits.append(split[1:] + begin)
            offset = offset + ends.pop(0)
        else:
            begins.append(tf.fill([num_rows], number))
            number = number + 1
            limits.append(tf.fill([num_rows], number))
    begins, limits = tf.stack(begins, axis=1), tf.stack(limits, axis=1)
    places = tf.ragged.range(tf.reshape(begins, [-1]), tf.reshape(limits, [-1])).flat_values
    lengths = tf.cast(tf.reduce_sum(limits - begins, axis=1), rows[0].row_splits.dtype)
    return tf.RaggedTensor.from_row_lengths(tf.gather(values, places), lengths, validate=False)


def keep_between(rows: tf.RaggedTensor, first: tf.Tensor, end: tf.Tensor) -> tf.RaggedTensor:
    """Ids whose place in their row is in [first, end), int32 [B] each and inside the row.

    >>> keep_between([[1, 2, 3], [4]], [1, 0], [3, 0])
    [[2, 3], []]

    By flat index: ragged comparisons and `tf.ragged.boolean_mask` are thousands of ops.
    """
    starts, end = tf.cast(rows.row_starts(), tf.int32), tf.maximum(first, end)
    places = tf.ragged.range(starts + first, starts + end).flat_values
    lengths = tf.cast(end - first, rows.row_splits.dtype)
    return tf.RaggedTensor.from_row_lengths(tf.gather(rows.flat_values, places), lengths, validate=False)
