"""Positions, blocks and the last norm: what every Transformer encoder and decoder has in common."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tflm.layers import (
    Attention,
    FeedForward,
    RelativePositionBias,
    TransformerBlock,
    make_norm,
    sinusoidal_positions,
)
from tflm.layers.attention import Cache, cache_places
from tflm.layers.positions import rotation
from tflm.models.transformer_config import TransformerConfig

Tensor = Any


class TransformerStack(keras.layers.Layer):
    """From embedded tokens to hidden states.

    Args:
        config: sizes and choices.
        num_layers: int.
        causal: bool, nothing ahead is seen. The masks see to that; relative positions need to know it.
        cross: bool, each block also attends to a memory.
    """

    def __init__(
        self, config: TransformerConfig, num_layers: int, *, causal: bool, cross: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        if config.positions == "learned":
            self.position_embedding = keras.layers.Embedding(
                config.max_length,
                config.hidden_dim,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                name="position_embedding",
            )
        if config.positions == "relative":
            self.position_bias = RelativePositionBias(
                config.num_heads, bidirectional=not causal, name="position_bias"
            )
        self.embedding_dropout = keras.layers.Dropout(config.dropout, name="embedding_dropout")
        self.blocks = [_make_block(config, num_layers, cross, f"block_{i}") for i in range(num_layers)]
        pre_norm = config.norm_position == "pre"
        self.final_norm = make_norm(config.norm, config.norm_epsilon, "final_norm") if pre_norm else None

    def build(self, input_shape: Any) -> None:
        """Every block has the width of the input."""
        if self.config.positions == "learned":
            self.position_embedding.build()
        if self.config.positions == "relative":
            self.position_bias.build()
        for part in (*self.blocks, self.final_norm):
            if part is not None:
                part.build(input_shape)
        self.built = True

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
            embedded: float [B, K, hidden_dim].
            attention_mask: bool [B or 1, K or 1, S].
            positions: int32 [B or 1, K], each token's place in its text.
            caches: keys and values for each block, or None for a whole sequence.
            cache_index: int scalar, where in the caches the K new positions go.
            memories: keys and values of the memory for each block, from `memories`.
            memory_mask: bool [B, 1, memory's length].
        Returns:
            float [B, K, hidden_dim], and each block's keys and values.
        """
        x = self._add_positions(embedded, positions)
        x = self.embedding_dropout(x, training=training)
        bias = None
        if self.config.positions == "relative":
            places = cache_index + ops.arange(ops.shape(x)[1], dtype="int32")
            bias = self.position_bias(places, ops.arange(ops.shape(attention_mask)[-1], dtype="int32"))
        rotary = self.config.positions == "rotary"
        turned = (
            rotation(positions, self.config.head_dim, self.config.rotary_base, x.dtype)
            if rotary
            else positions
        )
        if caches is not None:
            num_kv_heads = self.config.num_kv_heads or self.config.num_heads
            cache_index = cache_places(x, num_kv_heads, cache_index)
        new_caches = []
        for index, block in enumerate(self.blocks):
            x, cache = block(
                x,
                attention_mask,
                turned,
                cache=None if caches is None else caches[index],
                cache_index=cache_index,
                memory=None if memories is None else memories[index],
                memory_mask=memory_mask,
                attention_bias=bias,
                training=training,
            )
            new_caches.append(cache)
        return x if self.final_norm is None else self.final_norm(x), new_caches

    def memories(self, hidden_states: Tensor) -> list[Cache]:
        """Each block's keys and values float [B, G, S, head_dim] of an encoder's hidden states [B, S, D]: made
        once, attended to at every step."""
        layers = [block.cross_attention for block in self.blocks if block.cross_attention is not None]
        return [layer.keys_and_values(hidden_states) for layer in layers]

    def _add_positions(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.config.positions == "learned":
            return x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":
            return x + ops.cast(sinusoidal_positions(positions, self.config.hidden_dim), x.dtype)
        return x


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
        pre_norm=config.norm_position == "pre",
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
        use_bias=config.use_bias,
        initializer=_fan_in(1.0),
        output_initializer=_fan_in(residual_scale),
        dropout=config.attention_dropout,
        name=name,
    )


def _fan_in(scale: float) -> Any:
    """Normal with standard deviation scale / sqrt(fan in): the output has the variance of the input."""
    if scale == 0.0:
        return "zeros"
    return keras.initializers.VarianceScaling(scale**2, "fan_in", "untruncated_normal")
