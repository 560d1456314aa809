"""The `top_k` setting: sample from the k likeliest tokens."""

import tensorflow as tf


def keep_top_k(logits: tf.Tensor, top_k: tf.Tensor) -> tf.Tensor:
    """Makes every token less likely than the k-th likeliest impossible.

    Tokens as likely as the k-th all stay, so that the order of the vocabulary decides nothing.
    Only the largest k of the batch are sorted. Source: Fan et al. 2018, Hierarchical Neural Story Generation,
    section 5.4.

    >>> keep_top_k([[1., 3., 2.]], [2])
    [[-inf, 3., 2.]]

    Args:
        logits: float32 [B, V].
        top_k: int32 [B]; 0 or less is off, more than V is V.
    Returns:
        float32 [B, V].
    """
    top_k = tf.minimum(top_k, tf.shape(logits)[-1])
    largest = tf.math.top_k(logits, tf.maximum(tf.reduce_max(top_k), 1)).values
    threshold = tf.gather(largest, tf.maximum(top_k - 1, 0), batch_dims=1)
    is_cut = (top_k > 0)[:, None] & (logits < threshold[:, None])
    return tf.where(is_cut, float("-inf"), logits)
