"""A bidirectional LSTM layer (Schuster and Paliwal, 1997; Graves and Schmidhuber, 2005)."""

from typing import Any

import keras
from keras import ops

from tflm.layers.lstm import LSTM

Tensor = Any


class BidirectionalLSTM(keras.layers.Layer):
    """A forward and a backward LSTM with concatenated outputs; same call signature as `LSTM`.

    Each direction has half the width, so layers stack and the output width is that of a unidirectional layer.

    Args:
        hidden_dim: int, W, even: W / 2 for each direction.
    Raises:
        ValueError: hidden_dim is odd.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # as in `LSTM`: cell states stay in float32
        if hidden_dim % 2:
            raise ValueError(f"hidden_dim is even, half for each direction; got {hidden_dim}.")
        self.forward = LSTM(hidden_dim // 2, dtype=self.dtype_policy, name="forward")
        self.backward = LSTM(hidden_dim // 2, dtype=self.dtype_policy, name="backward")

    def build(self, input_shape: Any) -> None:
        """Builds both directions on the same input."""
        self.forward.build(input_shape)
        self.backward.build(input_shape)
        self.built = True

    def call(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs both directions over time.

        Masked steps leave the state unchanged, so with right padding the backward direction starts at the last real
        token of each row.

        Args:
            inputs: float [B, T, D].
            hidden: float [B, W], initial hidden states of both directions.
            cell: float [B, W], initial cell states of both directions.
            mask: bool [B, T], True is real. None for all True.
            training: bool, see `LSTM.call`.
        Returns:
            Hidden states float [B, T, W], and the final hidden and cell states [B, W] of each direction: after the
            last token forward, after the first token backward.
        """
        hidden_forward, hidden_backward = ops.split(hidden, 2, axis=-1)
        cell_forward, cell_backward = ops.split(cell, 2, axis=-1)
        reversed_mask = None if mask is None else ops.flip(mask, axis=1)
        forward = self.forward(inputs, hidden_forward, cell_forward, mask, training=training)
        outputs, *last = self.backward(
            ops.flip(inputs, axis=1), hidden_backward, cell_backward, reversed_mask, training=training
        )
        backward = ops.flip(outputs, axis=1), *last
        outputs, hidden, cell = (
            ops.concatenate(both, axis=-1) for both in zip(forward, backward, strict=True)
        )
        return outputs, hidden, cell
