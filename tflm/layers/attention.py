"""Multi-head attention (Vaswani et al., 2017, section 3.2): within a sequence, over a cache, or over a memory."""

import warnings
from typing import Any

import keras
from keras import ops

from tflm.layers.linear import Linear, known_sizes
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
        self.output_projection = Linear(
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
            positions: int32 [B or 1, K], for rotary positions, or their `rotation`.
            cache: keys and values float [B, G, S, D], or None to attend within the sequence.
            cache_index: int scalar, where in the cache the K new positions go; or what `cache_places` made of it.
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
            if len(cache_index.shape) == 0:
                cache_index = cache_places(hidden_states, self.num_kv_heads, cache_index)
            key, value = (_write(old, new, cache_index) for old, new in zip(cache, (key, value), strict=True))
        attended = self._attend(query, key, value, attention_mask, attention_bias, training)
        return self.output_projection(attended), (key, value)

    def keys_and_values(self, hidden_states: Tensor, positions: Tensor = None) -> Cache:
        """Keys and values float [B, G, S, D] of hidden states float [B, S, hidden_dim]. Those of a memory are
        computed once for all the queries to come, and carry no position.

        Heads stand before places, as the products over a cache want them: no step has to turn the cache over.
        """
        key = self._heads(self.key(hidden_states), self.num_kv_heads)
        value = self._heads(self.value(hidden_states), self.num_kv_heads)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if self.rotary and positions is not None:
            key = rotate(key, positions, self.rotary_base)
        return ops.transpose(key, (0, 2, 1, 3)), ops.transpose(value, (0, 2, 1, 3))

    def _projection(self, width: int, name: str) -> keras.layers.Layer:
        return Linear(
            width,
            use_bias=self.use_bias,
            kernel_initializer=self.initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def _heads(self, states: Tensor, num_heads: int) -> Tensor:
        return ops.reshape(states, (*known_sizes(states)[:2], num_heads, self.head_dim))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        attention_bias: Tensor,
        training: bool,
    ) -> Tensor:
        """Softmax in float32; the scale goes onto the query, which is smaller than the scores.

        The H / G query heads of a key/value head stand in its product as rows, so that keys and values are not
        repeated.
        """
        query = ops.transpose(query * self.head_dim**-0.5, (0, 2, 1, 3))
        scores = self._split_heads(_products(self._join_heads(query), key, query.shape[2]), query)
        blocked = ops.where(attention_mask, 0.0, -1e9)[:, None]
        if attention_bias is not None:
            blocked = blocked + ops.cast(attention_bias, "float32")
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32") + blocked), value.dtype)
        if self.weights_dropout is not None:
            weights = self.weights_dropout(weights, training=training)
        attended = self._split_heads(ops.matmul(self._join_heads(weights), value), query)
        attended = ops.transpose(attended, (0, 2, 1, 3))
        return ops.reshape(attended, (*known_sizes(attended)[:2], self.num_heads * self.head_dim))

    def _join_heads(self, states: Tensor) -> Tensor:
        """[B, H, K, N] to [B, G, H / G * K, N]."""
        if self.num_kv_heads == self.num_heads:
            return states
        return ops.reshape(states, (ops.shape(states)[0], self.num_kv_heads, -1, ops.shape(states)[3]))

    def _split_heads(self, states: Tensor, like: Tensor) -> Tensor:
        """[B, G, H / G * K, N] to [B, H, K, N]; `like` is [B, H, K, D]."""
        if self.num_kv_heads == self.num_heads:
            return states
        batch, _, count, _ = ops.shape(like)
        return ops.reshape(states, (batch, self.num_heads, count, ops.shape(states)[3]))


def _products(queries: Tensor, keys: Tensor, num_positions: int | None) -> Tensor:
    """float [B, G, N, S] of queries [B, G, N, D] and keys [B, G, S, D]. For one position it is the queries that are
    turned over, and not all the keys that there are."""
    if num_positions == 1:
        return _turned(ops.matmul(keys, _turned(queries)))
    return ops.matmul(queries, _turned(keys))


def _turned(states: Tensor) -> Tensor:
    return ops.transpose(states, (0, 1, 3, 2))


def cache_places(states: Tensor, num_kv_heads: int, index: Tensor) -> Tensor:
    """Where keys and values of states [B, K, ...] go in a cache, from `index` of axis 2 on: int32 [B, G, K, 3], for all
    layers of a model."""
    batch, count = ops.shape(states)[:2]
    places = ops.meshgrid(
        ops.arange(batch), ops.arange(num_kv_heads), index + ops.arange(count), indexing="ij"
    )
    return ops.stack(places, axis=-1)


def _write(cache: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """`cache` [B, G, S, D] with `new` [B, G, K, D] at `places`.

    A scatter and not `slice_update`, whose TensorFlow op belongs to XLA and need not be in a server.
    """
    return ops.scatter_update(cache, places, ops.cast(new, cache.dtype))
