"""A bidirectional LSTM encoder (Graves and Schmidhuber, 2005): every place sees the whole text."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers import BidirectionalLSTM, padding_mask, run_layers, zero_state
from tflm.models.lstm_config import LSTMConfig, require_even_width
from tflm.models.text_model import TextModel

Tensor = Any


@dataclasses.dataclass(frozen=True)
class LSTMEncoderConfig(LSTMConfig):
    """Sizes of an `LSTMEncoder`; `hidden_dim` is even, half for each direction."""

    kind: str = "lstm_encoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_even_width(self)


class LSTMEncoder(TextModel):
    """Embedding and bidirectional layers."""

    def __init__(self, config: LSTMEncoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_encoder", **kwargs)
        self.layers_in_order = make_encoder_layers(config, "lstm")
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T], padded with 0 on the right; see `TextModel`."""
        return run_encoder(self, self.layers_in_order, token_ids, padding_mask(token_ids), training)[0]


def make_encoder_layers(config: LSTMConfig, name: str) -> list[BidirectionalLSTM]:
    """The layers of an encoder, `name_0` and on."""
    return [BidirectionalLSTM(config.hidden_dim, name=f"{name}_{i}") for i in range(config.num_layers)]


def run_encoder(
    model: Any, layers: list[BidirectionalLSTM], token_ids: Tensor, mask: Tensor, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """From int32 [B, T] to what `run_layers` gives, for a model with an embedding and `dropout`."""
    config, batch_size = model.config, ops.shape(token_ids)[0]
    state = zero_state(batch_size, config.num_layers, config.hidden_dim, model.compute_dtype)
    return run_layers(layers, model.embed(token_ids, training), state, mask, model.dropout, training)
