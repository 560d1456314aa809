"""Drawing one token from a row of logits with one uniform number: the inverse of the cumulative sum."""

import tensorflow as tf


def sample(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The first token whose cumulative probability is above the uniform number.

    The sum is kept in float64: over 50,000 tokens float32 would lose the small ones. The number is scaled by
    the largest sum, so the probabilities need not add up to 1. A token of probability zero is never chosen, even
    under XLA, which adds in blocks, so that rounding may raise or lower the sum at such a token.

    >>> sample(log([[0.2, 0., 0.8]]), [0.1]), sample(log([[0.2, 0., 0.8]]), [0.2])
    [0], [2]

    Args:
        logits: float32 [B, V]; -inf is an impossible token.
        uniform: float64 [B], from 0 inclusive to 1 exclusive.
    Returns:
        int32 [B]; V in a row without a possible token.
    """
    weights = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    sums = tf.cumsum(tf.cast(weights, tf.float64), axis=-1)
    sums = tf.where(weights > 0.0, sums, 0.0)
    target = uniform[:, None] * tf.reduce_max(sums, axis=-1, keepdims=True)
    num_tokens = tf.shape(logits)[-1]
    return tf.reduce_min(tf.where(sums > target, tf.range(num_tokens), num_tokens), axis=-1)
