"""The `min_new_tokens` setting: no end before so many tokens."""

import tensorflow as tf


def forbid_early_end(
    logits: tf.Tensor, num_tokens: tf.Tensor, min_new_tokens: tf.Tensor, end_id: int
) -> tf.Tensor:
    """Makes the end token impossible in rows that are still too short.

    >>> forbid_early_end([[5., 6.], [5., 6.]], [0, 3], [3, 3], end_id=1)
    [[5., -inf], [5., 6.]]

    Args:
        logits: float32 [B, V].
        num_tokens: int32 [B], produced so far.
        min_new_tokens: int32 [B].
        end_id: int.
    Returns:
        float32 [B, V].
    """
    is_end = tf.range(tf.shape(logits)[-1]) == end_id
    is_early = num_tokens < min_new_tokens
    return tf.where(is_early[:, None] & is_end, float("-inf"), logits)
