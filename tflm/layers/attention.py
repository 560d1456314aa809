"""Multi-head self-attention, cached self-attention and cross-attention (Vaswani et al., 2017, section 3.2)."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tflm.layers.capturing import capture
from tflm.layers.dropout import Dropout
from tflm.layers.fusion import compiled, fused, is_fusing
from tflm.layers.linear import Linear, as_rows, static_sizes
from tflm.layers.norms import make_norm
from tflm.layers.positions import rotate

# A sequence of one token attends only to itself, and Keras warns about a softmax over an axis of size 1.
warnings.filterwarnings("ignore", message="You are using a softmax over axis -1 of a tensor of shape")

Tensor = Any
Cache = tuple[Tensor, Tensor]
Sizes = tuple[Any, ...]


class Attention(keras.layers.Layer):
    """Multi-head attention over the sequence itself, over a key/value cache, or over the encoder output ("memory").

    Args:
        num_heads: int, H, number of query heads.
        num_kv_heads: int, G, number of key/value heads; divides H. G < H is grouped-query attention (Ainslie et
            al., 2023), G = H is multi-head attention.
        head_dim: int, D.
        rotary: bool, apply rotary position embeddings to queries and keys.
        rotary_base: float, see `rotate`.
        qk_norm: bool, normalize queries and keys per head (Henry et al., 2020).
        qk_norm_epsilon: float, epsilon of these norms.
        use_bias: bool, biases in the four projections.
        qkv_bias: bool, biases in the projections of queries, keys and values alone.
        scale: float, factor of the scores; 0 for 1 / sqrt(D).
        cap: float, soft cap of the scores: cap tanh(score / cap) (Gemma Team, 2024, section 2); 0 for none.
        learned_bias: bool, the bias of the scores is learned, as of relative positions.
        initializer: initializer of the query, key and value kernels.
        output_initializer: initializer of the output kernel.
        dropout: float, dropout rate of the attention weights.
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
        qk_norm_epsilon: float = 1e-6,
        use_bias: bool = False,
        qkv_bias: bool = False,
        scale: float = 0.0,
        cap: float = 0.0,
        learned_bias: bool = False,
        initializer: Any = "glorot_uniform",
        output_initializer: Any = "glorot_uniform",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # The bias of the scores stays in float32.
        super().__init__(autocast=False, **kwargs)
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.rotary, self.rotary_base, self.use_bias = rotary, rotary_base, use_bias
        self.qkv_bias, self.scale, self.cap = use_bias or qkv_bias, scale or head_dim**-0.5, cap
        self.initializer, self.output_initializer = initializer, output_initializer
        self.learned_bias = learned_bias
        self.query = self._projection(num_heads * head_dim, "query")
        self.key = self._projection(num_kv_heads * head_dim, "key")
        self.value = self._projection(num_kv_heads * head_dim, "value")
        self.query_norm = make_norm("rms_norm", qk_norm_epsilon, "query_norm") if qk_norm else None
        self.key_norm = make_norm("rms_norm", qk_norm_epsilon, "key_norm") if qk_norm else None
        self.weights_dropout = Dropout(dropout, name="weights_dropout") if dropout else None

    def build(self, input_shape: Any) -> None:
        """Builds the projections; the output has the width of the input."""
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
        training: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Computes attention.

        Args:
            hidden_states: float [B, K, hidden_dim].
            attention_mask: bool [B or 1, K or 1, S], True attends; or the `score_bias` of such a mask. S is K, the
                capacity of the cache, or the length of the memory.
            positions: int32 [B or 1, K] for rotary positions, or their precomputed `rotation`.
            cache: keys and values float [B, G, S, D], or None for attention within the sequence.
            cache_index: int32 scalar, first cache position to write; or the indices from `cache_indices`.
            memory: keys and values of another sequence from `keys_and_values`, for cross-attention.
        Returns:
            float [B, K, hidden_dim], and the attended keys and values: the updated cache.
        """
        hidden_states = ops.cast(hidden_states, self.compute_dtype)
        sizes, rows = static_sizes(hidden_states)[:2], as_rows(hidden_states)
        query = self._heads(self.query(rows), sizes, self.num_heads)
        if self.query_norm is not None:
            query = self.query_norm(query)
        if self.rotary and memory is None:
            query = rotate(query, positions, self.rotary_base)
        if memory is not None:
            key, value = memory
        else:
            key, value = self._keys_and_values(rows, sizes, positions)
        if cache is not None:
            if len(cache_index.shape) == 0:
                cache_index = cache_indices(hidden_states, self.num_kv_heads, cache_index)
            key, value = (_write(old, new, cache_index) for old, new in zip(cache, (key, value), strict=True))
        if len(attention_mask.shape) == 3:
            attention_mask = score_bias(attention_mask, self.num_heads // self.num_kv_heads)
        num_queries = sizes[1]
        if isinstance(num_queries, int) and num_queries < 0:  # of a known number of rows
            num_queries = ops.shape(hidden_states)[1]
        attended = self._attend(query, key, value, attention_mask, num_queries, training, memory is not None)
        return ops.reshape(self.output_projection(attended), (*sizes, hidden_states.shape[-1])), (key, value)

    def keys_and_values(self, hidden_states: Tensor, positions: Tensor = None) -> Cache:
        """Projects hidden states to keys and values.

        Axes are ordered heads before positions, the order of the attention products, so that no decoding step
        transposes the cache.

        Args:
            hidden_states: float [B, S, hidden_dim].
            positions: as in `call`; None for a memory, whose keys are not rotated.
        Returns:
            Keys and values, float [B, G, S, D] each.
        """
        return self._keys_and_values(as_rows(hidden_states), static_sizes(hidden_states)[:2], positions)

    def _keys_and_values(self, rows: Tensor, sizes: Sizes, positions: Tensor) -> Cache:
        key = self._heads(self.key(rows), sizes, self.num_kv_heads)
        value = self._heads(self.value(rows), sizes, self.num_kv_heads)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if self.rotary and positions is not None:
            key = rotate(key, positions, self.rotary_base)
        return ops.transpose(key, (0, 2, 1, 3)), ops.transpose(value, (0, 2, 1, 3))

    def _projection(self, width: int, name: str) -> keras.layers.Layer:
        return Linear(
            width,
            use_bias=self.qkv_bias,
            kernel_initializer=self.initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def _heads(self, rows: Tensor, sizes: Sizes, num_heads: int) -> Tensor:
        """[B * K, num_heads * D] to [B, K, num_heads, D]."""
        return ops.reshape(rows, (*sizes, num_heads, self.head_dim))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor,
        num_queries: Any,
        training: bool,
        is_cross: bool,
    ) -> Tensor:
        """Scaled dot-product attention with the softmax in float32: [B * K, H * D] of queries [B, K, H, D]. The query
        is scaled rather than the scores, since it is smaller.

        The H / G query heads of a key/value head are rows of one product, so keys and values are not repeated.
        """
        if self.scale != 1.0:
            query = query * self.scale
        query = ops.transpose(query, (0, 2, 1, 3))
        group = self.num_heads // self.num_kv_heads
        if group > 1:
            query = ops.reshape(query, (-1, self.num_kv_heads, group * num_queries, self.head_dim))
        one = isinstance(num_queries, int) and num_queries == 1
        scores = _products(query, key, one)
        if self.cap:
            scores = soft_cap(ops.cast(scores, "float32"), self.cap)
        dtype = keras.backend.standardize_dtype(value.dtype)
        weights = attention_weights(scores, bias, dtype, self.learned_bias)
        capture(self, "cross_weights" if is_cross else "weights", weights)
        capture(self, "value", value)
        if self.weights_dropout is not None:
            weights = self.weights_dropout(weights, training=training)
        attended = ops.matmul(weights, value)
        if group == 1:
            attended = ops.transpose(attended, (0, 2, 1, 3))
        elif not one:  # of one query the heads are in their order
            attended = ops.reshape(attended, (-1, self.num_kv_heads, group, num_queries, self.head_dim))
            attended = ops.transpose(attended, (0, 3, 1, 2, 4))
        return ops.reshape(attended, (-1, self.num_heads * self.head_dim))


def attention_weights(scores: Tensor, bias: Tensor, dtype: str, learned_bias: bool = False) -> Tensor:
    """The softmax of scores float [B, G, N, S] with a bias, computed in float32, as `dtype`.

    In a training step the gradient is computed from the weights, which attention keeps for its next product in any
    case; with a learned bias, which has a gradient of its own, from scores and bias.
    """
    softmax = _softmax_of(dtype)
    if learned_bias:
        return fused(softmax, scores, bias)
    if not is_fusing():
        return softmax(scores, bias)

    @ops.custom_gradient
    def run(scores: Tensor) -> Any:
        # In float32, TensorFlow's kernel takes half the time of XLA's.
        weights = softmax(scores, bias) if dtype == "float32" else compiled(softmax, scores, bias)

        def gradient(*upstream: Any) -> Tensor:
            (d_weights,) = keras.tree.flatten(upstream)
            return compiled(_softmax_gradient(scores.dtype), weights, d_weights)

        return weights, gradient

    return run(scores)


@functools.cache
def _softmax_of(dtype: str) -> Callable[..., Tensor]:
    """The softmax of scores with a bias, in float32, as `dtype`."""

    def weights(scores: Tensor, bias: Tensor) -> Tensor:
        return ops.cast(ops.softmax(ops.cast(scores, "float32") + bias), dtype)

    return weights


@functools.cache
def _softmax_gradient(dtype: Any) -> Callable[..., Tensor]:
    """The gradient of scores of a dtype from the weights and their gradient."""

    def gradient(weights: Tensor, d_weights: Tensor) -> Tensor:
        weights, d_weights = ops.cast(weights, "float32"), ops.cast(d_weights, "float32")
        mean = ops.sum(weights * d_weights, axis=-1, keepdims=True)
        return ops.cast(weights * (d_weights - mean), dtype)

    return gradient


def score_bias(attention_mask: Tensor, group: int = 1, bias: Tensor = None) -> Tensor:
    """What is added to the attention scores: the same for all layers of a stack, and computed once for them.

    Args:
        attention_mask: bool [B or 1, K or 1, S], True attends.
        group: int, H / G, number of query heads for each key/value head. Their K positions are rows of one product.
        bias: float [1, H, K, S] for the scores of each head, or None.
    Returns:
        float32 [B or 1, 1, K * group or 1, S], 0 where attended and -1e9 elsewhere; with `bias`, [B or 1, G, K * group,
        S].
    """
    blocked = ops.where(attention_mask, 0.0, -1e9)[:, None]
    if bias is not None:
        blocked = blocked + ops.cast(bias, "float32")
        if group > 1:
            _, heads, count, keys = ops.shape(blocked)
            blocked = ops.reshape(blocked, (-1, heads // group, group * count, keys))
    elif group > 1 and blocked.shape[2] != 1:
        blocked = ops.tile(blocked, (1, 1, group, 1))
    return blocked


def soft_cap(scores: Tensor, cap: float) -> Tensor:
    """cap tanh(scores / cap): between -cap and cap, and close to `scores` where they are small (Gemma Team, 2024)."""
    return cap * ops.tanh(scores / cap)


def _products(queries: Tensor, keys: Tensor, one: bool) -> Tensor:
    """float [B, G, N, S] of queries [B, G, N, D] and keys [B, G, S, D]. With one query position, the queries are
    transposed instead of the keys of the whole cache."""
    if one:
        return _transpose(ops.matmul(keys, _transpose(queries)))
    return ops.matmul(queries, _transpose(keys))


def _transpose(states: Tensor) -> Tensor:
    return ops.transpose(states, (0, 1, 3, 2))


def cache_indices(states: Tensor, num_kv_heads: int, cache_index: Tensor) -> Tensor:
    """Scatter indices into a cache for the keys and values of K new positions; the same for all layers of a model.

    Args:
        states: [B, K, ...], read for B and K only.
        num_kv_heads: int, G.
        cache_index: int32 scalar, first cache position to write.
    Returns:
        int32 [B, G, K, 3].
    """
    batch, count = ops.shape(states)[:2]
    indices = ops.meshgrid(
        ops.arange(batch), ops.arange(num_kv_heads), cache_index + ops.arange(count), indexing="ij"
    )
    return ops.stack(indices, axis=-1)


def _write(cache: Tensor, new: Tensor, indices: Tensor) -> Tensor:
    """`cache` [B, G, S, D] with `new` [B, G, K, D] written at `indices`.

    A scatter rather than `slice_update`: the TensorFlow op of `slice_update` belongs to XLA, and a serving binary may
    lack it.
    """
    return ops.scatter_update(cache, indices, ops.cast(new, cache.dtype))
