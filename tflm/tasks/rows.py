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
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    places = tf.ragged.range(lengths)
    keep = (places >= first[:, None]) & (places < end[:, None])
    return tf.ragged.boolean_mask(rows, tf.cast(keep, tf.bool).with_row_splits_dtype(rows.row_splits.dtype))
