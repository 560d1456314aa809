"""The `top_p` setting (nucleus sampling): sample from the smallest set of likeliest tokens that reaches p."""

import tensorflow as tf

from tflm.decoding.keep_first import keep_first


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
    limit = tf.where(top_p < 1.0, top_p, float("inf"))
    return keep_first(logits, logits, tf.nn.softmax(logits), limit)
