"""Small heads on a body's hidden states: one answer a text, one a token, a span of the text, a vector."""

from typing import Any

import keras
from keras import ops

Tensor = Any

POOLINGS = ("first", "last", "mean", "max")


def pool(hidden_states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector for each text.

    >>> pool([[[1.0], [3.0], [9.0]]], [[True, True, False]], "mean")
    [[2.0]]

    Args:
        hidden_states: float [B, T, D].
        mask: bool [B, T], True is real; real tokens stand on the left.
        pooling: one of POOLINGS: the first token, the last real one, the mean or the greatest of the real ones.
    Returns:
        float [B, D]; of a text without tokens zeros, but for `first` and `last`, which give the first place.
    """
    if pooling == "first":
        return hidden_states[:, 0]
    counts = ops.sum(ops.cast(mask, "int32"), axis=1)
    if pooling == "last":
        last = ops.maximum(counts - 1, 0)[:, None, None]
        return ops.take_along_axis(hidden_states, last, axis=1)[:, 0]
    real = mask[:, :, None]
    if pooling == "max":
        greatest = ops.max(ops.where(real, hidden_states, ops.cast(-1e4, hidden_states.dtype)), axis=1)
        return ops.where(counts[:, None] > 0, greatest, ops.zeros_like(greatest))
    total = ops.sum(ops.where(real, ops.cast(hidden_states, "float32"), 0.0), axis=1)
    mean = total / ops.cast(ops.maximum(counts, 1), "float32")[:, None]
    return ops.cast(mean, hidden_states.dtype)


class PooledHead(keras.layers.Layer):
    """Logits for a text: pool, dropout, one hidden layer with tanh where asked for (Devlin et al., 2019), output.

    Args:
        num_outputs: int, C.
        pooling: one of POOLINGS.
        dropout: float, before each product.
        hidden_layer: bool.
    """

    def __init__(
        self,
        num_outputs: int,
        pooling: str = "mean",
        dropout: float = 0.0,
        hidden_layer: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}.")
        self.num_outputs, self.pooling, self.hidden_layer = num_outputs, pooling, hidden_layer
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, input_shape: Any) -> None:
        """The hidden layer is as wide as the hidden states."""
        if self.hidden_layer:
            self.hidden = keras.layers.Dense(input_shape[-1], activation="tanh", name="hidden")
            self.hidden.build((None, input_shape[-1]))
        self.output_layer = _output(self.num_outputs, input_shape[-1])
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, C] of hidden states float [B, T, D] and mask bool [B, T]."""
        x = self.dropout(pool(hidden_states, mask, self.pooling), training=training)
        if self.hidden_layer:
            x = self.dropout(self.hidden(x), training=training)
        return ops.cast(self.output_layer(x), "float32")


class TokenHead(keras.layers.Layer):
    """Logits for each token; with two outputs, the start and the end of a span (Devlin et al., 2019, section 4.2).

    Args:
        num_outputs: int, C.
        dropout: float.
    """

    def __init__(self, num_outputs: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, input_shape: Any) -> None:
        """One product."""
        self.output_layer = _output(self.num_outputs, input_shape[-1])
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, T, C]; `mask` is not needed, the loss leaves padding out."""
        del mask
        return ops.cast(self.output_layer(self.dropout(hidden_states, training=training)), "float32")


class SpanHead(TokenHead):
    """Logits [B, T, 2] for the start and the end of a span, very low where there is no token."""

    def __init__(self, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(2, dropout, **kwargs)

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, T, 2] of hidden states float [B, T, D] and mask bool [B, T]."""
        logits = super().call(hidden_states, mask, training=training)
        return ops.where(mask[:, :, None], logits, -1e9)


class EmbeddingHead(keras.layers.Layer):
    """A unit vector for a text: the mean of its hidden states (Reimers and Gurevych, 2019), normalised.

    Args:
        embedding_dim: int, a projection to this width; 0 for the width of the hidden states.
    """

    def __init__(self, embedding_dim: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding_dim = embedding_dim

    def build(self, input_shape: Any) -> None:
        """The projection has no bias."""
        self.projection = None
        if self.embedding_dim:
            self.projection = keras.layers.Dense(self.embedding_dim, use_bias=False, name="projection")
            self.projection.build((None, input_shape[-1]))
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, E] of length 1 each, of hidden states float [B, T, D] and mask bool [B, T]."""
        del training
        x = pool(hidden_states, mask, "mean")
        x = ops.cast(x if self.projection is None else self.projection(x), "float32")
        return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


def _output(num_outputs: int, width: int) -> keras.layers.Dense:
    """Small at first, so that all answers begin about equally likely."""
    layer = keras.layers.Dense(
        num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02), name="output"
    )
    layer.build((None, width))
    return layer
