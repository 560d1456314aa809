"""Relative position bias on the attention scores (Raffel et al., 2020, section 2.1)."""

import math
from typing import Any

import keras
from keras import ops

Tensor = Any

# The bias is this multiple of the embedding, unless another is given. A sharp preference for one distance needs a bias
# of 5 to 10, and Adam changes a parameter by at most about the learning rate per step: without the factor, thousands of
# steps.
SCALE = 10.0


class RelativePositionBias(keras.layers.Layer):
    """A learned scalar for each head and distance bucket, shared by all layers of a stack, as in T5.

    Args:
        num_heads: int, H.
        bidirectional: bool, use separate buckets for keys before and after the query; otherwise keys after the query
            have distance 0.
        num_buckets: int. Half of the buckets of a direction hold one distance each, the rest are logarithmic.
        max_distance: int; larger distances share the last bucket.
        scale: float, factor of the embedding; 1 in T5.
    """

    def __init__(
        self,
        num_heads: int,
        *,
        bidirectional: bool,
        num_buckets: int = 32,
        max_distance: int = 128,
        scale: float = SCALE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.bidirectional = num_heads, bidirectional
        self.num_buckets, self.max_distance, self.scale = num_buckets, max_distance, scale

    def build(self, input_shape: Any = None) -> None:
        """Creates the embedding [num_buckets, H]. The initialization is random: from zeros, a small model learns
        slowly to distinguish distances."""
        del input_shape
        self.embeddings = self.add_weight(
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            name="embeddings",
        )
        self.built = True

    def call(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Bias float [1, H, K, S] from positions int32 [K] and int32 [S]."""
        distances = key_positions[None, :] - query_positions[:, None]
        buckets = relative_buckets(distances, self.bidirectional, self.num_buckets, self.max_distance)
        return ops.transpose(self.scale * ops.take(self.embeddings, buckets, axis=0), (2, 0, 1))[None]


def relative_buckets(distances: Tensor, bidirectional: bool, num_buckets: int, max_distance: int) -> Tensor:
    """Maps relative distances to bucket ids (Raffel et al., 2020, section 2.1).

    >>> relative_buckets([-9, -2, -1, 0, 1], bidirectional=False, num_buckets=8, max_distance=16)
    [5, 2, 1, 0, 0]

    Args:
        distances: int32, key position minus query position.
        bidirectional: see `RelativePositionBias`.
        num_buckets: see `RelativePositionBias`.
        max_distance: see `RelativePositionBias`.
    Returns:
        int32 of the same shape, in [0, num_buckets).
    """
    first = ops.zeros_like(distances)
    if bidirectional:
        num_buckets //= 2
        first = ops.cast(distances > 0, "int32") * num_buckets
        behind = ops.abs(distances)
    else:
        behind = ops.maximum(-distances, 0)
    exact = num_buckets // 2
    grown = ops.log(ops.cast(ops.maximum(behind, 1), "float32") / exact) / math.log(max_distance / exact)
    far = exact + ops.cast(grown * (num_buckets - exact), "int32")
    return first + ops.where(behind < exact, behind, ops.minimum(far, num_buckets - 1))
