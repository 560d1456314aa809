"""One Transformer block: attention and a feed-forward network, each on a residual line."""

from collections.abc import Callable
from typing import Any

import keras

from tflm.layers.attention import Attention, Cache
from tflm.layers.feed_forward import FeedForward

Tensor = Any


class TransformerBlock(keras.layers.Layer):
    """Pre-norm: x + f(norm(x)) (Xiong et al., 2020). Post-norm: norm(x + f(x)) (Vaswani et al., 2017).

    Args:
        attention: the attention layer.
        feed_forward: the feed-forward layer.
        make_norm: called with a name, gives a norm layer.
        pre_norm: bool.
        dropout: float, on the output of each half.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        make_norm: Callable[[str], keras.layers.Layer],
        *,
        pre_norm: bool = True,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.attention, self.feed_forward = attention, feed_forward
        self.attention_norm, self.feed_forward_norm = (
            make_norm("attention_norm"),
            make_norm("feed_forward_norm"),
        )
        self.attention_dropout = keras.layers.Dropout(dropout, name="attention_dropout")
        self.feed_forward_dropout = keras.layers.Dropout(dropout, name="feed_forward_dropout")

    def build(self, input_shape: Any) -> None:
        """Every part has the width of the input."""
        for part in (self.attention, self.feed_forward, self.attention_norm, self.feed_forward_norm):
            part.build(input_shape)
        self.built = True

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        positions: Tensor,
        cache: Cache | None = None,
        cache_index: Tensor = 0,
        training: bool = False,
    ) -> tuple[Tensor, Cache]:
        """Arguments and returns as of `Attention.call`."""
        x = hidden_states
        if self.pre_norm:
            attended, cache = self.attention(
                self.attention_norm(x), attention_mask, positions, cache=cache, cache_index=cache_index
            )
            x = x + self.attention_dropout(attended, training=training)
            return x + self._transform(self.feed_forward_norm(x), training), cache
        attended, cache = self.attention(x, attention_mask, positions, cache=cache, cache_index=cache_index)
        x = self.attention_norm(x + self.attention_dropout(attended, training=training))
        return self.feed_forward_norm(x + self._transform(x, training)), cache

    def _transform(self, x: Tensor, training: bool) -> Tensor:
        return self.feed_forward_dropout(self.feed_forward(x), training=training)
