"""The `top_p` setting (nucleus sampling): sample from the smallest set of likeliest tokens that reaches p."""

import tensorflow as tf

_HEAD = 512
"""Tokens that are sorted at first. Sorting all of 50,000 takes ten times as long as finding these, and the
likeliest few hundred nearly always reach p."""


def keep_top_p(logits: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """Makes every token impossible that is outside the nucleus.

    From the likeliest down, a token stays while the tokens before it have less than `top_p` in sum; the first
    always stays. Tokens as likely as the last one kept stay too. Source: Holtzman et al. 2020, The Curious
    Case of Neural Text Degeneration, section 3.1.

    >>> keep_top_p(log([[0.1, 0.6, 0.3]]), [0.7])        # 0.6 alone is not enough
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V].
        top_p: float32 [B]; 1 or more is off, 0 or less keeps the likeliest token.
    Returns:
        float32 [B, V].
    """
    is_on = top_p < 1.0
    log_total = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
    num_tokens = tf.shape(logits)[-1]
    head = tf.math.top_k(logits, tf.minimum(_HEAD, num_tokens)).values
    head_total = tf.reduce_sum(tf.exp(head - log_total), axis=-1)
    threshold = tf.cond(
        tf.reduce_all(~is_on | (head_total >= top_p)),
        lambda: _threshold(head, log_total, top_p),
        lambda: _threshold(tf.math.top_k(logits, num_tokens).values, log_total, top_p),
    )
    return tf.where(is_on[:, None] & (logits < threshold), float("-inf"), logits)


def _threshold(descending: tf.Tensor, log_total: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """The smallest logit of the nucleus, float32 [B, 1], from sorted logits [B, N] that contain it."""
    sum_before = tf.cumsum(tf.exp(descending - log_total), axis=-1, exclusive=True)
    num_kept = tf.reduce_sum(tf.cast(sum_before < top_p[:, None], tf.int32), axis=-1)
    return tf.gather(descending, tf.maximum(num_kept - 1, 0)[:, None], batch_dims=1)
