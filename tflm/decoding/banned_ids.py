"""The `banned_ids` setting: tokens that a row never produces."""

import tensorflow as tf

from tflm.decoding.count_penalties import count_tokens


def ban(logits: tf.Tensor, banned_ids: tf.Tensor) -> tf.Tensor:
    """Makes the listed tokens impossible.

    >>> ban([[5., 6., 7.], [5., 6., 7.]], [[1, 2], [0, -1]])
    [[5., -inf, -inf], [-inf, 6., 7.]]

    Args:
        logits: float32 [B, V].
        banned_ids: int32 [B, N]; -1 and everything else outside the vocabulary does nothing.
    Returns:
        float32 [B, V].
    """
    is_banned = count_tokens(banned_ids, tf.shape(logits)[-1]) > 0.0
    return tf.where(is_banned, float("-inf"), logits)
