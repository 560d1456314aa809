"""For explanations: a probe that scales the inputs of a model, and attention rollout."""

from typing import Any

import tensorflow as tf

Tensor = Any


class ScalingProbe:
    """Multiplies the inputs of one pass by scales.

    Args:
        tokens: for each sequence that the model reads, in its order, the scales of its tokens, float32 [B, T].
        ngrams: scales of the n-grams, float32 [B, N]; None where the model has none.
    """

    def __init__(self, tokens: list[tf.Tensor], ngrams: tf.Tensor | None = None) -> None:
        self._tokens, self._ngrams = list(tokens), ngrams

    def scaled(self, name: str, values: Tensor, token_ids: Tensor = None) -> Tensor:
        """See `tflm.layers.Probe`."""
        del token_ids
        if name == "ngrams":
            return values if self._ngrams is None else values * self._ngrams
        return values * tf.cast(self._tokens.pop(0), values.dtype)[:, :, None]


def rollout(weights: tf.Tensor) -> tf.Tensor:
    """Attention rollout (Abnar and Zuidema, 2020, section 4.1): the mean over heads of each layer, half of it for the
    residual connection, multiplied from the first layer up. Each row sums to 1.

    Args:
        weights: float32 [B, L, H, T, T], of self-attention.
    Returns:
        float32 [B, T, T]: how much of each token of the input is in each hidden state of the last layer.
    """
    residual = tf.eye(tf.shape(weights)[-1])
    found = residual[None]
    for layer in range(weights.shape[1]):
        mean = tf.reduce_mean(weights[:, layer], axis=1)
        found = tf.matmul(0.5 * mean + 0.5 * residual, found)
    return found
