"""The `temperature` setting: sharper or flatter probabilities."""

import tensorflow as tf

_SMALLEST, _LARGEST = 1e-6, 1e30


def scale_by_temperature(logits: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Logits divided by the temperature, after a shift that puts the largest at 0.

    The shift leaves the probabilities as they are and lets a tiny temperature neither overflow nor give NaN.

    >>> scale_by_temperature([[1., 3., 2.]], [0.5])
    [[-4., 0., -2.]]

    Args:
        logits: float32 [B, V]; -inf is an impossible token.
        temperature: float32 [B]; taken as at least 1e-6, NaN as 1. (Rows at 0 or NaN are greedy and do not
            sample, but share the batch with rows that do.)
    Returns:
        float32 [B, V].
    """
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    shifted = logits - tf.where(largest > float("-inf"), largest, 0.0)
    temperature = tf.where(tf.math.is_nan(temperature), 1.0, temperature)
    return shifted / tf.clip_by_value(temperature, _SMALLEST, _LARGEST)[:, None]
