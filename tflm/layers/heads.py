"""Output heads on hidden states: sequence classification, token classification, span prediction, embedding; and a
linear classifier of n-grams."""

from typing import Any

import keras
from keras import ops

from tflm.layers.dropout import Dropout
from tflm.layers.probe import probed

Tensor = Any

POOLINGS = ("first", "last", "mean", "max")


def pool(hidden_states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pools hidden states over time to one vector per sequence.

    >>> pool([[[1.0], [3.0], [9.0]]], [[True, True, False]], "mean")
    [[2.0]]

    Args:
        hidden_states: float [B, T, D].
        mask: bool [B, T], True is real; padding is on the right.
        pooling: one of POOLINGS: the first token, the last real token, or the mean or maximum over the real tokens.
    Returns:
        float [B, D]. For a sequence without real tokens: zeros for `mean` and `max`, position 0 for `first` and
        `last`.
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
    """Logits per sequence: pooling, dropout, an optional hidden layer with tanh (Devlin et al., 2019), output layer.

    Args:
        num_outputs: int, C, number of classes.
        pooling: one of POOLINGS.
        dropout: float, dropout rate before each dense layer.
        hidden_layer: bool, add the hidden layer.
    Raises:
        ValueError: unknown pooling.
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
        self.dropout = Dropout(dropout, name="dropout")

    def build(self, input_shape: Any) -> None:
        """Builds the dense layers; the hidden layer has the width of the hidden states."""
        if self.hidden_layer:
            self.hidden = keras.layers.Dense(input_shape[-1], activation="tanh", name="hidden")
            self.hidden.build((None, input_shape[-1]))
        self.output_layer = _output(self.num_outputs, input_shape[-1])
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, C] from hidden states float [B, T, D] and mask bool [B, T]."""
        x = self.dropout(pool(hidden_states, mask, self.pooling), training=training)
        if self.hidden_layer:
            x = self.dropout(self.hidden(x), training=training)
        return ops.cast(self.output_layer(x), "float32")


class TokenHead(keras.layers.Layer):
    """Logits per token (Devlin et al., 2019, section 5.3).

    Args:
        num_outputs: int, C, number of classes.
        dropout: float, dropout rate before the output layer.
    """

    def __init__(self, num_outputs: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs
        self.dropout = Dropout(dropout, name="dropout")

    def build(self, input_shape: Any) -> None:
        """Builds the output layer."""
        self.output_layer = _output(self.num_outputs, input_shape[-1])
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, T, C] from float [B, T, D]. `mask` is ignored: the loss weights exclude padding."""
        del mask
        return ops.cast(self.output_layer(self.dropout(hidden_states, training=training)), "float32")


class SpanHead(TokenHead):
    """Start and end logits of a span (Devlin et al., 2019, section 4.2); -1e9 at padding."""

    def __init__(self, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(2, dropout, **kwargs)

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """float32 [B, T, 2] from hidden states float [B, T, D] and mask bool [B, T]."""
        logits = super().call(hidden_states, mask, training=training)
        return ops.where(mask[:, :, None], logits, -1e9)


class EmbeddingHead(keras.layers.Layer):
    """A sentence embedding: pooling, by default mean pooling (Reimers and Gurevych, 2019), optional projection, L2
    normalization.

    Args:
        embedding_dim: int, E, width of the projection; 0 for no projection.
        pooling: one of POOLINGS.
        normalize: bool, divide each vector by its length.
    Raises:
        ValueError: unknown pooling.
    """

    def __init__(
        self, embedding_dim: int = 0, pooling: str = "mean", normalize: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}.")
        self.embedding_dim, self.pooling, self.normalize = embedding_dim, pooling, normalize

    def build(self, input_shape: Any) -> None:
        """Builds the projection, which has no bias."""
        self.projection = None
        if self.embedding_dim:
            self.projection = keras.layers.Dense(self.embedding_dim, use_bias=False, name="projection")
            self.projection.build((None, input_shape[-1]))
        self.built = True

    def call(self, hidden_states: Tensor, mask: Tensor, training: bool = False) -> Tensor:
        """Unit vectors, if `normalize`, float32 [B, E] from hidden states float [B, T, D] and mask bool [B, T]."""
        del training
        x = pool(hidden_states, mask, self.pooling)
        x = ops.cast(x if self.projection is None else self.projection(x), "float32")
        if not self.normalize:
            return x
        return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


class NgramLogits(keras.layers.Layer):
    """Logits of a linear classifier over TF-IDF of n-grams.

    The weight of an n-gram in a text is 1 + ln(count), times its inverse document frequency; each of two blocks of
    n-grams is divided by its Euclidean norm. All variables are computed from the training side, not trained by steps.

    Args:
        num_outputs: int, C.
        num_buckets: int; the first block has the ids up to its half.
    """

    def __init__(self, num_outputs: int, num_buckets: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_outputs, self.num_buckets = num_outputs, num_buckets

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables, all zero."""
        rows, columns = self.num_buckets + 1, self.num_outputs
        self.document_weights = self.add_weight(shape=(rows,), initializer="zeros", name="document_weights")
        """Inverse document frequencies; 0 for an n-gram that the training side does not have."""
        self.kernel = self.add_weight(shape=(rows, columns), initializer="zeros", name="kernel")
        self.bias = self.add_weight(shape=(columns,), initializer="zeros", name="bias")
        self.built = True

    def features(self, ngram_ids: Tensor, ngram_counts: Tensor) -> Tensor:
        """TF-IDF float32 [B, N] of int32 [B, N], padded with 0."""
        weights = ops.cast(ops.take(self.document_weights, ngram_ids, axis=0), "float32")
        values = weights * (1.0 + ops.log(ops.cast(ops.maximum(ngram_counts, 1), "float32")))
        is_first = ngram_ids <= self.num_buckets // 2
        norms = [
            ops.sqrt(ops.sum(ops.where(block, ops.square(values), 0.0), axis=1, keepdims=True))
            for block in (is_first, ops.logical_not(is_first))
        ]
        return values / ops.maximum(ops.where(is_first, *norms), 1e-12)

    def call(self, ngram_ids: Tensor, ngram_counts: Tensor) -> Tensor:
        """float32 [B, C] from int32 [B, N], padded with 0."""
        kernel = ops.cast(ops.take(self.kernel, ngram_ids, axis=0), "float32")
        values = probed("ngrams", self.features(ngram_ids, ngram_counts))
        return ops.einsum("bn,bnc->bc", values, kernel) + ops.cast(self.bias, "float32")


def _output(num_outputs: int, width: int) -> keras.layers.Dense:
    """A dense layer with small initial weights, so that initial predictions are close to uniform."""
    layer = keras.layers.Dense(
        num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02), name="output"
    )
    layer.build((None, width))
    return layer
