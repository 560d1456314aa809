"""The stack shared by Transformer encoders and decoders: positions, blocks, final norm."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from tflm.layers import (
    Attention,
    Dropout,
    FeedForward,
    RelativePositionBias,
    TransformerBlock,
    capture,
    drawing_masks_again,
    drawing_part,
    make_norm,
    sinusoidal_positions,
    window_mask,
)
from tflm.layers.attention import Cache, cache_indices, score_bias
from tflm.layers.linear import Linear
from tflm.layers.positions import Rotation, rotation
from tflm.models.transformer_config import TransformerConfig

Tensor = Any


class TransformerStack(keras.layers.Layer):
    """Maps token embeddings to hidden states.

    Args:
        config: hyperparameters.
        num_layers: int, number of blocks.
        causal: bool. Selects one-sided buckets for relative positions; causality itself comes from the masks.
        cross: bool, add cross-attention to each block.
    """

    def __init__(
        self, config: TransformerConfig, num_layers: int, *, causal: bool, cross: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config, self.num_layers = config, num_layers
        self.embedding_width = getattr(config, "embedding_dim", 0) or config.hidden_dim
        if config.positions == "learned":
            self.position_embedding = keras.layers.Embedding(
                config.max_length,
                self.embedding_width,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                name="position_embedding",
            )
        if config.positions == "relative":
            self.position_bias = RelativePositionBias(
                config.num_heads,
                bidirectional=not causal,
                num_buckets=config.relative_buckets,
                max_distance=config.relative_distance,
                scale=config.relative_scale,
                name="position_bias",
            )
        self.embedding_norm = self.embedding_projection = None
        if config.embedding_norm:
            self.embedding_norm = make_norm(config.norm, config.norm_epsilon, "embedding_norm")
        self.embedding_dropout = Dropout(config.dropout, name="embedding_dropout")
        if self.embedding_width != config.hidden_dim:
            self.embedding_projection = Linear(config.hidden_dim, name="embedding_projection")
        num_blocks = 1 if getattr(config, "shared_layers", False) else num_layers
        self.blocks = [_make_block(config, num_layers, cross, f"block_{i}") for i in range(num_blocks)]
        has_final_norm = config.norm_position != "post"
        self.final_norm = (
            make_norm(config.norm, config.norm_epsilon, "final_norm") if has_final_norm else None
        )

    def build(self, input_shape: Any) -> None:
        """Builds every part; the blocks with the width of the hidden states."""
        del input_shape
        for part in (self.embedding_norm, self.embedding_projection):
            if part is not None:
                part.build((None, None, self.embedding_width))
        if self.config.positions == "learned":
            self.position_embedding.build()
        if self.config.positions == "relative":
            self.position_bias.build()
        for part in (*self.blocks, self.final_norm):
            if part is not None:
                part.build((None, None, self.config.hidden_dim))
        self.built = True

    def projections(self) -> Iterator[keras.layers.Dense]:
        """The dense layers of its blocks: of attention, of cross-attention and of the feed-forward network."""
        for block in self.blocks:
            for attention in (block.attention, block.cross_attention):
                if attention is not None:
                    yield from (attention.query, attention.key, attention.value, attention.output_projection)
            parts = (block.feed_forward.inner, block.feed_forward.gate, block.feed_forward.outer)
            yield from (part for part in parts if part is not None)

    def call(
        self,
        embedded: Tensor,
        attention_mask: Tensor,
        positions: Tensor,
        caches: Sequence[Cache] | None = None,
        cache_index: Tensor = 0,
        memories: Sequence[Cache] | None = None,
        memory_mask: Tensor = None,
        training: bool = False,
    ) -> tuple[Tensor, list[Cache]]:
        """Runs the blocks.

        Args:
            embedded: float [B, K, hidden_dim], or of the width of the embedding where that differs.
            attention_mask: bool [B or 1, K or 1, S], True attends.
            positions: int32 [B or 1, K], position of each token in its text.
            caches: keys and values float [B, G, S, head_dim] for each block, or None to run without a cache.
            cache_index: int32 scalar, first cache position to write.
            memories: encoder keys and values for each block, from `memories`.
            memory_mask: bool [B, 1, length of the memory].
            training: bool, with dropout.
        Returns:
            Hidden states float [B, K, hidden_dim], and the keys and values of each block; none in training with
            `recompute`.
        """
        x = self._enter(embedded, positions, training)
        capture(self, "embedded", x)
        whole, local = self._attention_inputs(attention_mask, positions, cache_index, x)
        if memory_mask is not None:
            memory_mask = score_bias(memory_mask, self._group)
        if caches is not None:
            num_kv_heads = self.config.num_kv_heads or self.config.num_heads
            cache_index = cache_indices(x, num_kv_heads, cache_index)
        new_caches = []
        for index in range(self.num_layers):
            is_whole = local is None or index in self.config.full_attention_layers
            block, inputs = self.blocks[index % len(self.blocks)], whole if is_whole else local
            if self.config.recompute and training:
                learned = self.config.positions == "relative"
                memory = memories[index] if memories else None
                has_dropout = bool(self.config.dropout or self.config.attention_dropout)
                x = _recomputed(block, x, inputs, learned, memory, memory_mask, has_dropout)
                continue
            with drawing_part():
                x, cache = block(
                    x,
                    *inputs,
                    cache=None if caches is None else caches[index],
                    cache_index=cache_index,
                    memory=None if memories is None else memories[index],
                    memory_mask=memory_mask,
                    training=training,
                )
            capture(block, "output", x)
            new_caches.append(cache)
        return x if self.final_norm is None else self.final_norm(x), new_caches

    def memories(self, hidden_states: Tensor) -> list[Cache]:
        """Cross-attention keys and values float [B, G, S, head_dim] of each block from the encoder's hidden states
        [B, S, D]; computed once per source."""
        layers = [block.cross_attention for block in self.blocks if block.cross_attention is not None]
        return [layer.keys_and_values(hidden_states) for layer in layers]

    def _enter(self, embedded: Tensor, positions: Tensor, training: bool) -> Tensor:
        """The input of the first block."""
        x = self._add_positions(embedded, positions)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = self.embedding_dropout(x, training=training)
        return x if self.embedding_projection is None else self.embedding_projection(x)

    def _attention_inputs(
        self, attention_mask: Tensor, positions: Tensor, cache_index: Tensor, x: Tensor
    ) -> tuple[tuple[Tensor, Tensor | Rotation], Any]:
        """The bias of the scores and the positions of blocks that attend to the whole text; and those of blocks with a
        sliding window, None without one."""
        config, bias = self.config, None
        if config.positions == "relative":
            query_positions = cache_index + ops.arange(ops.shape(x)[1], dtype="int32")
            key_positions = ops.arange(ops.shape(attention_mask)[-1], dtype="int32")
            bias = self.position_bias(query_positions, key_positions)
        rotated = positions
        if config.positions == "rotary":
            rotated = rotation(positions, config.head_dim, config.rotary_base, x.dtype, config.scaling)
        whole = score_bias(attention_mask, self._group, bias), rotated
        if not config.sliding_window:
            return whole, None
        num_keys = ops.shape(attention_mask)[-1]
        window = window_mask(num_keys, ops.shape(x)[1], cache_index, config.sliding_window)
        local = rotated
        if config.positions == "rotary" and config.local_rotary_base:
            local = rotation(positions, config.head_dim, config.local_rotary_base, x.dtype)
        return whole, (score_bias(attention_mask & window, self._group, bias), local)

    @property
    def _group(self) -> int:
        """Query heads for each key/value head."""
        return self.config.num_heads // (self.config.num_kv_heads or self.config.num_heads)

    def _add_positions(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.config.positions == "learned":
            return x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":
            return x + ops.cast(sinusoidal_positions(positions, self.embedding_width), x.dtype)
        return x


def _recomputed(
    block: TransformerBlock,
    x: Tensor,
    inputs: tuple[Tensor, Any],
    learned_bias: bool,
    memory: Cache | None,
    memory_mask: Tensor,
    has_dropout: bool,
) -> Tensor:
    """The hidden states after a block, of which the backward pass stores the input alone."""
    bias, positions = inputs
    # What has a gradient is an argument; a function that is computed again loses that of what it captures.
    learned = [*([bias] if learned_bias else []), *(memory or ())]

    def run(x: Tensor, *learned: Tensor) -> Tensor:
        rest = list(learned)
        return block(
            x,
            rest.pop(0) if learned_bias else bias,
            positions,
            memory=None if memory is None else (rest[0], rest[1]),
            memory_mask=memory_mask,
            training=True,
        )[0]

    return keras.remat(drawing_masks_again(run, has_dropout))(x, *learned)


def _make_block(config: TransformerConfig, num_layers: int, cross: bool, name: str) -> TransformerBlock:
    parts = 3 if cross else 2
    residual_scale = 0.0 if config.zero_residual else (parts * num_layers) ** -0.5
    return TransformerBlock(
        _make_attention(config, residual_scale, config.positions == "rotary", "attention"),
        FeedForward(
            config.feed_forward_dim,
            config.activation,
            use_bias=config.use_bias,
            initializer=_fan_in(1.0),
            output_initializer=_fan_in(residual_scale),
            name="feed_forward",
        ),
        lambda norm_name: make_norm(config.norm, config.norm_epsilon, norm_name),
        cross_attention=_make_attention(config, residual_scale, False, "cross_attention") if cross else None,
        pre_norm=config.norm_position != "post",
        output_norm=config.norm_position == "both",
        dropout=config.dropout,
        name=name,
    )


def _make_attention(config: TransformerConfig, residual_scale: float, rotary: bool, name: str) -> Attention:
    return Attention(
        config.num_heads,
        config.num_kv_heads or config.num_heads,
        config.head_dim,
        rotary=rotary,
        rotary_base=config.rotary_base,
        qk_norm=config.qk_norm,
        qk_norm_epsilon=config.qk_norm_epsilon,
        use_bias=config.use_bias,
        qkv_bias=config.qkv_bias,
        scale=config.attention_scale,
        cap=config.attention_cap,
        learned_bias=config.positions == "relative",
        initializer=_fan_in(1.0),
        output_initializer=_fan_in(residual_scale),
        dropout=config.attention_dropout,
        name=name,
    )


def _fan_in(scale: float) -> Any:
    """Normal with standard deviation scale / sqrt(fan_in), which preserves the variance for scale 1; zeros for 0."""
    if scale == 0.0:
        return "zeros"
    return keras.initializers.VarianceScaling(scale**2, "fan_in", "untruncated_normal")
