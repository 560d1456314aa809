"""The `top_k` setting: sample from the k likeliest tokens."""

import tensorflow as tf

from tflm.decoding.keep_first import keep_first


def keep_top_k(logits: tf.Tensor, top_k: tf.Tensor) -> tf.Tensor:
    """Makes every token less likely than the k-th likeliest impossible.

    Tokens as likely as the k-th all stay, so that the order of the vocabulary decides nothing. Source: Fan et al.
    2018, Hierarchical Neural Story Generation, section 5.4.

    >>> keep_top_k([[1., 3., 2.]], [2])
    [[-inf, 3., 2.]]

    Args:
        logits: float32 [B, V].
        top_k: int32 [B]; 0 or less is off, and so is V or more.
    Returns:
        float32 [B, V].
    """
    is_on = (top_k > 0) & (top_k < tf.shape(logits)[-1])
    limit = tf.where(is_on, tf.cast(top_k, tf.float32), float("inf"))
    return keep_first(logits, logits, tf.ones_like(logits), limit)
