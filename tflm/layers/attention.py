"""Multi-head attention (Vaswani et al., 2017, section 3.2): within a sequence, over a cache, or over a memory."""

import warnings
from typing import Any

import keras
from keras import ops

from tflm.layers.positions import rotate

# A text of one token attends to itself alone; Keras thinks that a mistake.
warnings.filterwarnings("ignore", message="You are using a softmax over axis -1 of a tensor of shape")

Tensor = Any
Cache = tuple[Tensor, Tensor]


class Attention(keras.layers.Layer):
    """Self-attention over a whole sequence, over a cache of the keys and values that came before, or
    cross-attention over those of another sequence, the memory.

    Args:
        num_heads: int, H.
        num_kv_heads: int, G, divides H: each key/value head serves H / G query heads
            (Ainslie et al., 2023). H is the ordinary kind.
        head_dim: int, D.
        rotary: bool, rotate queries and keys by their positions.
        rotary_base: float, see `rotate`.
        qk_norm: bool, normalise queries and keys per head (Henry et al., 2020).
        use_bias: bool, biases on the four projections.
        initializer: for the query, key and value kernels.
        output_initializer: for the output kernel.
        dropout: float, on the attention weights.
    """

    def __init__(
        self,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        *,
        rotary: bool = False,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
        use_bias: bool = False,
        initializer: Any = "glorot_uniform",
        output_initializer: Any = "glorot_uniform",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.rotary, self.rotary_base, self.use_bias = rotary, rotary_base, use_bias
        self.initializer, self.output_initializer = initializer, output_initializer
        self.query = self._projection(num_heads * head_dim, "query")
        self.key = self._projection(num_kv_heads * head_dim, "key")
        self.value = self._projection(num_kv_heads * head_dim, "value")
        self.query_norm = keras.layers.RMSNormalization(name="query_norm") if qk_norm else None
        self.key_norm = keras.layers.RMSNormalization(name="key_norm") if qk_norm else None
        self.weights_dropout = keras.layers.Dropout(dropout, name="weights_dropout") if dropout else None

    def build(self, input_shape: Any) -> None:
        """The output projection gives back the width that came in."""
        self.output_projection = keras.layers.Dense(
            input_shape[-1],
            use_bias=self.use_bias,
            kernel_initializer=self.output_initializer,
            dtype=self.dtype_policy,
            name="output",
        )
        for projection in (self.query, self.key, self.value):
            projection.build(input_shape)
        self.output_projection.build((None, None, self.num_heads * self.head_dim))
        for norm in (self.query_norm, self.key_norm):
            if norm is not None:
                norm.build((None, None, None, self.head_dim))
        self.built = True

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        positions: Tensor = None,
        cache: Cache | None = None,
        cache_index: Tensor = 0,
        memory: Cache | None = None,
        attention_bias: Tensor = None,
        training: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Attends.

        Args:
            hidden_states: float [B, K, hidden_dim].
            attention_mask: bool [B or 1, K or 1, S], True attends. S is K, or the capacity of the cache, or the
                length of the memory.
            positions: int32 [B or 1, K], for rotary positions.
            cache: keys and values float [B, S, G, D], or None to attend within the sequence.
            cache_index: int scalar, where in the cache the K new positions go.
            memory: keys and values of another sequence, from `keys_and_values`; nothing of `hidden_states` is
                then added to them.
            attention_bias: float [1, H, K, S], added to the scores, or None.
        Returns:
            float [B, K, hidden_dim], and the keys and values that were attended to (the new cache).
        """
        query = self._heads(self.query(hidden_states), self.num_heads)
        if self.query_norm is not None:
            query = self.query_norm(query)
        if self.rotary and memory is None:
            query = rotate(query, positions, self.rotary_base)
        if memory is not None:
            key, value = memory
        else:
            key, value = self.keys_and_values(hidden_states, positions)
        if cache is not None:
            key = _write(cache[0], key, cache_index)
            value = _write(cache[1], value, cache_index)
        attended = self._attend(query, key, value, attention_mask, attention_bias, training)
        return self.output_projection(attended), (key, value)

    def keys_and_values(self, hidden_states: Tensor, positions: Tensor = None) -> Cache:
        """Keys and values float [B, S, G, D] of hidden states float [B, S, hidden_dim]. Those of a memory are
        computed once for all the queries to come, and carry no position."""
        key = self._heads(self.key(hidden_states), self.num_kv_heads)
        value = self._heads(self.value(hidden_states), self.num_kv_heads)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if self.rotary and positions is not None:
            key = rotate(key, positions, self.rotary_base)
        return key, value

    def _projection(self, width: int, name: str) -> keras.layers.Layer:
        return keras.layers.Dense(
            width,
            use_bias=self.use_bias,
            kernel_initializer=self.initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def _heads(self, states: Tensor, num_heads: int) -> Tensor:
        return ops.reshape(states, (-1, ops.shape(states)[1], num_heads, self.head_dim))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        attention_bias: Tensor,
        training: bool,
    ) -> Tensor:
        """Softmax in float32; the scale goes onto the query, which is smaller than the scores."""
        group = self.num_heads // self.num_kv_heads
        if group > 1:
            key, value = ops.repeat(key, group, axis=2), ops.repeat(value, group, axis=2)
        query = ops.transpose(query * self.head_dim**-0.5, (0, 2, 1, 3))
        key, value = ops.transpose(key, (0, 2, 3, 1)), ops.transpose(value, (0, 2, 1, 3))
        blocked = ops.where(attention_mask, 0.0, -1e9)[:, None]
        if attention_bias is not None:
            blocked = blocked + ops.cast(attention_bias, "float32")
        scores = ops.cast(ops.matmul(query, key), "float32") + blocked
        weights = ops.cast(ops.softmax(scores), value.dtype)
        if self.weights_dropout is not None:
            weights = self.weights_dropout(weights, training=training)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return ops.reshape(attended, (-1, ops.shape(attended)[1], self.num_heads * self.head_dim))


def _write(cache: Tensor, new: Tensor, index: Tensor) -> Tensor:
    """`cache` [B, S, G, D] with `new` [B, K, G, D] at `index` ... of axis 1.

    A scatter and not `slice_update`, whose TensorFlow op belongs to XLA and need not be in a server.
    """
    batch, count = ops.shape(new)[0], ops.shape(new)[1]
    rows, places = ops.meshgrid(ops.arange(batch), index + ops.arange(count), indexing="ij")
    return ops.scatter_update(cache, ops.stack([rows, places], axis=-1), ops.cast(new, cache.dtype))
