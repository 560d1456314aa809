"""Rows of token ids, cut and joined inside the graph."""

import tensorflow as tf


def keep_first(rows: tf.RaggedTensor, count: int | tf.Tensor) -> tf.RaggedTensor:
    """The first `count` ids of each row.

    >>> keep_first([[1, 2, 3], [4]], 2)
    [[1, 2], [4]]

    Args:
        rows: int32 [B, (T)].
        count: int, or int32 [B].
    """
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    return _between(rows, tf.zeros_like(lengths), tf.minimum(lengths, count))


def keep_last(rows: tf.RaggedTensor, count: int | tf.Tensor) -> tf.RaggedTensor:
    """The last `count` ids of each row.

    >>> keep_last([[1, 2, 3], [4]], 2)
    [[2, 3], [4]]

    Args:
        rows: int32 [B, (T)].
        count: int, or int32 [B].
    """
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    return _between(rows, tf.maximum(lengths - count, 0), lengths)


def join(*parts: tf.RaggedTensor | int) -> tf.RaggedTensor:
    """Rows joined side by side; a number stands for a column of itself.

    >>> join(1, [[7, 8], [9]], 2)
    [[1, 7, 8, 2], [1, 9, 2]]
    """
    num_rows = next(part for part in parts if isinstance(part, tf.RaggedTensor)).nrows()
    columns = [
        part
        if isinstance(part, tf.RaggedTensor)
        else tf.RaggedTensor.from_tensor(tf.fill([num_rows, tf.ones_like(num_rows)], part))
        for part in parts
    ]
    return tf.concat(columns, axis=1)


def _between(rows: tf.RaggedTensor, first: tf.Tensor, end: tf.Tensor) -> tf.RaggedTensor:
    """Ids whose place in their row is in [first, end).

    By flat index: ragged comparisons and `tf.ragged.boolean_mask` are thousands of ops, half of an export's graph.
    """
    row = rows.value_rowids()
    place = tf.range(tf.size(row)) - tf.cast(tf.gather(rows.row_starts(), row), tf.int32)
    keep = (place >= tf.gather(first, row)) & (place < tf.gather(end, row))
    lengths = tf.cast(end - first, rows.row_splits.dtype)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(rows.flat_values, keep), lengths, validate=False)
