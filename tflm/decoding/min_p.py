"""The `min_p` setting: sample from tokens that are likely enough beside the likeliest."""

import tensorflow as tf


def keep_min_p(logits: tf.Tensor, min_p: tf.Tensor) -> tf.Tensor:
    """Makes every token impossible whose probability is below `min_p` times the largest.

    Probabilities compare as their logits do, so nothing is sorted or summed. Source: Nguyen et al. 2024,
    Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs, section 3.

    >>> keep_min_p(log([[0.1, 0.6, 0.3]]), [0.25])       # the threshold is 0.15
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V].
        min_p: float32 [B]; 0 or less is off, 1 or more keeps the likeliest token (and its equals).
    Returns:
        float32 [B, V].
    """
    is_on = min_p > 0.0
    distance = tf.math.log(tf.clip_by_value(min_p, 1e-30, 1.0))
    threshold = tf.reduce_max(logits, axis=-1) + distance
    is_cut = is_on[:, None] & (logits < threshold[:, None])
    return tf.where(is_cut, float("-inf"), logits)
