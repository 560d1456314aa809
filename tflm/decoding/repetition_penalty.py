"""The `repetition_penalty` setting: tokens of the prompt and of the text so far become less likely."""

import tensorflow as tf

_SMALLEST, _LARGEST = 1e-20, 1e20


def penalize_seen(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Divides the positive logits of seen tokens by the penalty and multiplies the others by it.

    How often a token was seen does not matter. Source: Keskar et al. 2019, CTRL, section 4.1, which divides
    all of them; that would make a negative logit more likely, so those are multiplied.

    >>> penalize_seen([[4., -4., 4.]], [[True, True, False]], [2.])
    [[2., -8., 4.]]

    Args:
        logits: float32 [B, V].
        seen: bool [B, V], `count_tokens(history) > 0`.
        penalty: float32 [B]; 1 or anything that is not positive is off, below 1 rewards repetition. Taken as 1e-20
            to 1e20, since nothing times infinity would be NaN.
    Returns:
        float32 [B, V].
    """
    penalty = tf.where(penalty > 0.0, tf.clip_by_value(penalty, _SMALLEST, _LARGEST), 1.0)[:, None]
    penalized = tf.where(logits > 0.0, logits / penalty, logits * penalty)
    return tf.where(seen, penalized, logits)
