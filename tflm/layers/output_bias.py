"""A bias for each token of the vocabulary, added to the logits of a tied output layer as in BERT."""

from typing import Any

import keras
from keras import ops

Tensor = Any


class OutputBias(keras.layers.Layer):
    """Adds a learned bias to logits."""

    def build(self, input_shape: Any) -> None:
        """Creates the bias [V]."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")
        self.built = True

    def call(self, logits: Tensor) -> Tensor:
        """float [..., V] of the same shape and dtype."""
        return logits + ops.cast(self.bias, logits.dtype)
