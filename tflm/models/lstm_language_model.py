"""An LSTM language model (Zaremba et al., 2014), with tied embeddings (Press and Wolf, 2017)."""

from typing import Any

from keras import ops

from tflm.layers import LSTM, Dropout, run_layers, zero_state
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.lstm_config import LSTMConfig
from tflm.models.text_model import register_model

Tensor = Any


@register_model("lstm")
class LSTMLanguageModel(LanguageModel):
    """Embedding, LSTM layers and output layer."""

    config_class = LSTMConfig
    layer_groups = (LayerGroup("lstm"),)

    def __init__(self, config: LSTMConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_language_model", **kwargs)
        self.layers_in_order = [LSTM(config.hidden_dim, name=f"lstm_{i}") for i in range(config.num_layers)]
        self.dropout = Dropout(config.dropout, name="dropout")

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T]; see `LanguageModel`."""
        state = self.initial_state(ops.shape(token_ids)[0], ops.shape(token_ids)[1])
        outputs, _, _ = self._run(token_ids, state, None, training)
        return outputs

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """Zero `hidden` and `cell` states, float [B, num_layers, hidden_dim] each; `max_length` is ignored."""
        del max_length, context
        config = self.config
        hidden, cell = zero_state(batch_size, config.num_layers, config.hidden_dim, self.compute_dtype)
        return self.new_state(batch_size, num_padding, {"hidden": hidden, "cell": cell})

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs over K tokens; padding leaves the hidden and cell states unchanged."""
        outputs, hidden, cell = self._run(
            token_ids, state, left_padding_mask(token_ids, state), training=False
        )
        return outputs, advance_state(state, token_ids, hidden, cell)

    def _run(
        self, token_ids: Tensor, state: State, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        initial = state["hidden"], state["cell"]
        return run_layers(
            self.layers_in_order, self.embed(token_ids, training), initial, mask, self.dropout, training
        )


def left_padding_mask(token_ids: Tensor, state: State) -> Tensor:
    """Padding mask of the next K tokens int32 [B, K], given the left padding in the state: bool [B, K], True is
    real."""
    positions = state["cache_index"] + ops.arange(ops.shape(token_ids)[1], dtype="int32")
    return positions[None] >= state["num_padding"][:, None]


def advance_state(state: State, token_ids: Tensor, hidden: Tensor, cell: Tensor) -> State:
    """The state after K tokens int32 [B, K], with the new `hidden` and `cell`."""
    index = state["cache_index"] + ops.shape(token_ids)[1]
    return {**state, "hidden": hidden, "cell": cell, "cache_index": index}
