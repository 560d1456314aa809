"""Prompts of unequal length as one tensor, padded on the left, so that all rows are written at one index."""

import tensorflow as tf


def pad_left(prompts: tf.RaggedTensor, pad_id: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Token ids that end together, and how much padding stands before each row.

    >>> pad_left([[1, 7, 8], [1]], pad_id=0)
    [[1, 7, 8], [0, 0, 1]], [0, 2]

    Args:
        prompts: int32 [B, (P)].
        pad_id: int.
    Returns:
        token_ids int32 [B, P], num_padding int32 [B].
    """
    reversed_ids = tf.reverse(prompts, axis=[1]).to_tensor(pad_id)
    token_ids = tf.reverse(reversed_ids, axis=[1])
    return token_ids, tf.shape(token_ids)[1] - tf.cast(prompts.row_lengths(), tf.int32)
