"""A learned bias on the attention scores for each distance (Raffel et al., 2020, section 2.1)."""

import math
from typing import Any

import keras
from keras import ops

Tensor = Any

# The bias is this multiple of the table. To make one distance stand out takes a bias of 5 or 10; Adam moves a number by
# no more than the learning rate a step, and would need thousands of steps.
_SCALE = 10.0


class RelativePositionBias(keras.layers.Layer):
    """One number for each head and each bucket of distances; all layers of a stack share it, as in T5.

    Args:
        num_heads: int, H.
        bidirectional: bool, tell what lies ahead from what lies behind; otherwise all ahead is distance 0.
        num_buckets: int. Half of those of a direction are one distance each, the rest grow with its logarithm.
        max_distance: int; all from here on share the last bucket.
    """

    def __init__(
        self,
        num_heads: int,
        *,
        bidirectional: bool,
        num_buckets: int = 32,
        max_distance: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.bidirectional = num_heads, bidirectional
        self.num_buckets, self.max_distance = num_buckets, max_distance

    def build(self, input_shape: Any = None) -> None:
        """A table [num_buckets, H] of small random numbers: were all distances alike, a small model would be slow to
        tell them apart."""
        del input_shape
        self.embeddings = self.add_weight(
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            name="embeddings",
        )
        self.built = True

    def call(self, query_places: Tensor, key_places: Tensor) -> Tensor:
        """float [1, H, K, S] for int32 [K] and [S]."""
        distances = key_places[None, :] - query_places[:, None]
        buckets = relative_buckets(distances, self.bidirectional, self.num_buckets, self.max_distance)
        return ops.transpose(_SCALE * ops.take(self.embeddings, buckets, axis=0), (2, 0, 1))[None]


def relative_buckets(distances: Tensor, bidirectional: bool, num_buckets: int, max_distance: int) -> Tensor:
    """Distances to buckets.

    >>> relative_buckets([-9, -2, -1, 0, 1], bidirectional=False, num_buckets=8, max_distance=16)
    [5, 2, 1, 0, 0]

    Args:
        distances: int32, the key's place less the query's.
    Returns:
        int32 of the same shape, 0 to num_buckets - 1.
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
