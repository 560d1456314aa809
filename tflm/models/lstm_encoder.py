"""A bidirectional LSTM encoder (Graves and Schmidhuber, 2005)."""

import dataclasses
from typing import Any

from keras import ops

from tflm.layers import BidirectionalLSTM, Dropout, padding_mask, run_layers, zero_state
from tflm.models.layer_groups import LayerGroup
from tflm.models.lstm_config import LSTMConfig, check_bidirectional
from tflm.models.text_model import TextModel, register_model

Tensor = Any


@dataclasses.dataclass(frozen=True)
class LSTMEncoderConfig(LSTMConfig):
    """Hyperparameters of an `LSTMEncoder`; `hidden_dim` is even, half for each direction."""

    kind: str = "lstm_encoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bidirectional(self)


@register_model("lstm_encoder")
class LSTMEncoder(TextModel):
    """Embedding and bidirectional LSTM layers."""

    config_class = LSTMEncoderConfig
    layer_groups = (LayerGroup("lstm"),)

    def __init__(self, config: LSTMEncoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_encoder", **kwargs)
        self.layers_in_order = make_encoder_layers(config, "lstm")
        self.dropout = Dropout(config.dropout, name="dropout")

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T], padded with `pad_id` on the right; see `TextModel`."""
        return run_encoder(
            self, self.layers_in_order, token_ids, padding_mask(token_ids, self.config.pad_id), training
        )[0]


def make_encoder_layers(config: LSTMConfig, name: str) -> list[BidirectionalLSTM]:
    """The bidirectional layers of an encoder, named `name_0`, `name_1`, ..."""
    return [BidirectionalLSTM(config.hidden_dim, name=f"{name}_{i}") for i in range(config.num_layers)]


def run_encoder(
    model: Any, layers: list[BidirectionalLSTM], token_ids: Tensor, mask: Tensor, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the encoder layers over token ids; the model provides the embedding and `dropout`.

    Args:
        model: a `TextModel` with a `dropout` layer.
        layers: from `make_encoder_layers`.
        token_ids: int32 [B, T].
        mask: bool [B, T], True is real.
        training: bool.
    Returns:
        The result of `run_layers`.
    """
    config, batch_size = model.config, ops.shape(token_ids)[0]
    state = zero_state(batch_size, config.num_layers, config.hidden_dim, model.compute_dtype)
    return run_layers(layers, model.embed(token_ids, training), state, mask, model.dropout, training)
