"""A Transformer block: self-attention, optional cross-attention, feed-forward network."""

from collections.abc import Callable
from typing import Any

import keras

from tflm.layers.attention import Attention, Cache
from tflm.layers.dropout import Dropout
from tflm.layers.feed_forward import FeedForward

Tensor = Any


class TransformerBlock(keras.layers.Layer):
    """Sublayers with residual connections. Pre-norm: x + f(norm(x)) (Xiong et al., 2020). Post-norm: norm(x + f(x))
    (Vaswani et al., 2017). Both: x + norm(f(norm(x))) (Gemma Team, 2024).

    Args:
        attention: self-attention layer.
        feed_forward: feed-forward layer.
        make_norm: maps a name to a normalization layer.
        cross_attention: attention to the encoder output, between the two; None in an encoder and in a decoder-only
            model.
        pre_norm: bool.
        output_norm: bool, with `pre_norm`: normalize the output of each sublayer too.
        dropout: float, dropout rate of the output of each sublayer.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        make_norm: Callable[[str], keras.layers.Layer],
        *,
        cross_attention: Attention | None = None,
        pre_norm: bool = True,
        output_norm: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # The bias of the scores stays in float32.
        super().__init__(autocast=False, **kwargs)
        self.pre_norm = pre_norm
        self.attention, self.cross_attention, self.feed_forward = attention, cross_attention, feed_forward
        self.attention_norm = make_norm("attention_norm")
        self.feed_forward_norm = make_norm("feed_forward_norm")
        self.output_norms = []
        if output_norm:
            self.output_norms = [make_norm("attention_output_norm"), make_norm("feed_forward_output_norm")]
        self.attention_dropout = Dropout(dropout, name="attention_dropout")
        self.feed_forward_dropout = Dropout(dropout, name="feed_forward_dropout")
        if cross_attention is not None:
            self.cross_attention_norm = make_norm("cross_attention_norm")
            self.cross_attention_dropout = Dropout(dropout, name="cross_attention_dropout")

    def build(self, input_shape: Any) -> None:
        """Builds every sublayer with the width of the input."""
        parts = [self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm]
        parts += self.output_norms
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
        training: bool = False,
    ) -> tuple[Tensor, Cache]:
        """See `Attention.call` for arguments and result; `memory` and its `memory_mask` go to the
        cross-attention."""
        x = keras.ops.cast(hidden_states, self.compute_dtype)
        attended, cache = self.attention(
            self._enter(x, self.attention_norm),
            attention_mask,
            positions,
            cache=cache,
            cache_index=cache_index,
            training=training,
        )
        if self.output_norms:
            attended = self.output_norms[0](attended)
        x = self._leave(x, self.attention_dropout(attended, training=training), self.attention_norm)
        if self.cross_attention is not None:
            entered = self._enter(x, self.cross_attention_norm)
            attended, _ = self.cross_attention(entered, memory_mask, memory=memory, training=training)
            attended = self.cross_attention_dropout(attended, training=training)
            x = self._leave(x, attended, self.cross_attention_norm)
        transformed = self.feed_forward(self._enter(x, self.feed_forward_norm))
        if self.output_norms:
            transformed = self.output_norms[1](transformed)
        transformed = self.feed_forward_dropout(transformed, training=training)
        return self._leave(x, transformed, self.feed_forward_norm), cache

    def _enter(self, x: Tensor, norm: keras.layers.Layer) -> Tensor:
        return norm(x) if self.pre_norm else x

    def _leave(self, x: Tensor, change: Tensor, norm: keras.layers.Layer) -> Tensor:
        return x + change if self.pre_norm else norm(x + change)
