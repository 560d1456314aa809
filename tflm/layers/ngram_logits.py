"""A linear classifier of weighted n-grams."""

from typing import Any

import keras
from keras import ops

Tensor = Any


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
        values = self.features(ngram_ids, ngram_counts)
        return ops.einsum("bn,bnc->bc", values, kernel) + ops.cast(self.bias, "float32")
