"""Drawing one token from a row of logits with one uniform number: the inverse of the cumulative sum."""

import tensorflow as tf


def sample(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The first token whose cumulative probability is above the uniform number.

    The sum is kept in float64: over 50,000 tokens float32 would lose the small ones. The number is scaled by
    the last sum, so the probabilities need not add up to 1. A token of probability zero does not raise the
    sum and is never the first above anything.

    >>> sample(log([[0.2, 0., 0.8]]), [0.1]), sample(log([[0.2, 0., 0.8]]), [0.2])
    [0], [2]

    Args:
        logits: float32 [B, V]; -inf is an impossible token.
        uniform: float64 [B], from 0 inclusive to 1 exclusive.
    Returns:
        int32 [B].
    """
    weights = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    sums = tf.cumsum(tf.cast(weights, tf.float64), axis=-1)
    target = uniform[:, None] * sums[:, -1:]
    return tf.searchsorted(sums, target, side="right")[:, 0]
