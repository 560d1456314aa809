"""Two LSTMs over the same text, one from each end (Schuster and Paliwal, 1997; Graves and Schmidhuber, 2005)."""

from typing import Any

import keras
from keras import ops

from tflm.layers.lstm import LSTM

Tensor = Any


class BidirectionalLSTM(keras.layers.Layer):
    """Called as `LSTM` is; each place sees the whole text.

    Half of every vector belongs to the forward direction, half to the backward one, so that layers can stand on
    each other and the width is that of an ordinary layer.

    Args:
        hidden_dim: int, even, W: W / 2 for each direction.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # as in `LSTM`: cell vectors stay in float32
        if hidden_dim % 2:
            raise ValueError(f"hidden_dim is even, half for each direction; got {hidden_dim}.")
        self.forward = LSTM(hidden_dim // 2, dtype=self.dtype_policy, name="forward")
        self.backward = LSTM(hidden_dim // 2, dtype=self.dtype_policy, name="backward")

    def build(self, input_shape: Any) -> None:
        """Both directions read the same input."""
        self.forward.build(input_shape)
        self.backward.build(input_shape)
        self.built = True

    def call(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs over time, both ways.

        Of padding on the right the backward direction reads nothing, since a masked step leaves its vectors as
        they were: it sets out at a row's last real token, whatever stands beside the row.

        Args:
            inputs: float [B, T, D].
            hidden: float [B, W], before each direction's first step.
            cell: float [B, W], likewise.
            mask: bool [B, T], True is real. None for all True.
            training: bool, as of `LSTM.call`.
        Returns:
            The hidden vectors float [B, T, W], and the hidden and cell vectors after each direction's last step:
            the last token forward, the first token backward.
        """
        hidden_forward, hidden_backward = ops.split(hidden, 2, axis=-1)
        cell_forward, cell_backward = ops.split(cell, 2, axis=-1)
        turned = None if mask is None else ops.flip(mask, axis=1)
        forward = self.forward(inputs, hidden_forward, cell_forward, mask, training=training)
        outputs, *last = self.backward(
            ops.flip(inputs, axis=1), hidden_backward, cell_backward, turned, training=training
        )
        backward = ops.flip(outputs, axis=1), *last
        outputs, hidden, cell = (
            ops.concatenate(both, axis=-1) for both in zip(forward, backward, strict=True)
        )
        return outputs, hidden, cell
