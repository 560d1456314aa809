"""Prompts of unequal length as one tensor, padded on the left, so that all rows are written at one index."""

import tensorflow as tf

SHORTEST = 16
"""Of the widths that are powers of two."""


def pad_left(
    prompts: tf.RaggedTensor, pad_id: int, to_power_of_two: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Token ids that end together, and how much padding stands before each row.

    >>> pad_left([[1, 7, 8], [1]], pad_id=0)
    [[1, 7, 8], [0, 0, 1]], [0, 2]

    Args:
        prompts: int32 [B, (P)].
        pad_id: int.
        to_power_of_two: whether P is a power of two, 16 at least, so that there are few shapes; else it is the length
            of the longest prompt.
    Returns:
        token_ids int32 [B, P], num_padding int32 [B].
    """
    reversed_ids = tf.reverse(prompts, axis=[1]).to_tensor(pad_id)
    token_ids = tf.reverse(reversed_ids, axis=[1])
    if to_power_of_two:
        longest = tf.shape(token_ids)[1]
        left = next_power_of_two(longest, SHORTEST) - longest
        token_ids = tf.pad(token_ids, [[0, 0], [left, 0]], constant_values=pad_id)
    return token_ids, tf.shape(token_ids)[1] - tf.cast(prompts.row_lengths(), tf.int32)


def next_power_of_two(count: tf.Tensor, least: int) -> tf.Tensor:
    """The smallest power of two that is at least `count`, int32 scalar, and `least`, itself a power of two."""
    powers = 2 ** tf.range(least.bit_length() - 1, 31)
    return tf.reduce_min(tf.where(powers >= count, powers, tf.int32.max))
