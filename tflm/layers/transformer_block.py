"""One Transformer block: attention, attention to another sequence where there is one, a feed-forward network."""

from collections.abc import Callable
from typing import Any

import keras

from tflm.layers.attention import Attention, Cache
from tflm.layers.feed_forward import FeedForward

Tensor = Any


class TransformerBlock(keras.layers.Layer):
    """Each part on a residual line. Pre-norm: x + f(norm(x)) (Xiong et al., 2020). Post-norm: norm(x + f(x))
    (Vaswani et al., 2017).

    Args:
        attention: the attention layer.
        feed_forward: the feed-forward layer.
        make_norm: called with a name, gives a norm layer.
        cross_attention: attends to the memory, between the two; None in an encoder and in a decoder alone.
        pre_norm: bool.
        dropout: float, on the output of each part.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        make_norm: Callable[[str], keras.layers.Layer],
        *,
        cross_attention: Attention | None = None,
        pre_norm: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.attention, self.cross_attention, self.feed_forward = attention, cross_attention, feed_forward
        self.attention_norm = make_norm("attention_norm")
        self.feed_forward_norm = make_norm("feed_forward_norm")
        self.attention_dropout = keras.layers.Dropout(dropout, name="attention_dropout")
        self.feed_forward_dropout = keras.layers.Dropout(dropout, name="feed_forward_dropout")
        if cross_attention is not None:
            self.cross_attention_norm = make_norm("cross_attention_norm")
            self.cross_attention_dropout = keras.layers.Dropout(dropout, name="cross_attention_dropout")

    def build(self, input_shape: Any) -> None:
        """Every part has the width of the input."""
        parts = [self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm]
        if self.cross_attention is not None:
            parts += [self.cross_attention, self.cross_attention_norm]
        for part in parts:
            part.build(input_shape)
        self.built = True

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        positions: Tensor = None,
        cache: Cache | None = None,
        cache_index: Tensor = 0,
        memory: Cache | None = None,
        memory_mask: Tensor = None,
        attention_bias: Tensor = None,
        training: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Arguments and returns as of `Attention.call`; `memory` and `memory_mask` bool [B, 1, S] are for the
        cross-attention."""
        x = hidden_states
        attended, cache = self.attention(
            self._enter(x, self.attention_norm),
            attention_mask,
            positions,
            cache=cache,
            cache_index=cache_index,
            attention_bias=attention_bias,
            training=training,
        )
        x = self._leave(x, self.attention_dropout(attended, training=training), self.attention_norm)
        if self.cross_attention is not None:
            entered = self._enter(x, self.cross_attention_norm)
            attended, _ = self.cross_attention(entered, memory_mask, memory=memory, training=training)
            attended = self.cross_attention_dropout(attended, training=training)
            x = self._leave(x, attended, self.cross_attention_norm)
        transformed = self.feed_forward(self._enter(x, self.feed_forward_norm))
        transformed = self.feed_forward_dropout(transformed, training=training)
        return self._leave(x, transformed, self.feed_forward_norm), cache

    def _enter(self, x: Tensor, norm: keras.layers.Layer) -> Tensor:
        return norm(x) if self.pre_norm else x

    def _leave(self, x: Tensor, change: Tensor, norm: keras.layers.Layer) -> Tensor:
        return x + change if self.pre_norm else norm(x + change)
