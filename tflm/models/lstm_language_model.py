"""An LSTM language model (Zaremba et al., 2014), with tied embeddings (Press and Wolf, 2017)."""

from typing import Any

from keras import ops

from tflm.layers import LSTM, Dropout, run_layers, zero_state
from tflm.layers.ngram_embedding import windows_of
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.lstm_config import LSTMConfig
from tflm.models.text_model import register_model

Tensor = Any


@register_model("lstm")
class LSTMLanguageModel(LanguageModel):
    """Embedding, LSTM layers and output layer."""

    config_class = LSTMConfig
    features = ("next_ids",)
    layer_groups = (LayerGroup("lstm"),)

    def __init__(self, config: LSTMConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_language_model", **kwargs)
        self.layers_in_order = [LSTM(config.hidden_dim, name=f"lstm_{i}") for i in range(config.num_layers)]
        self.dropout = Dropout(config.dropout, name="dropout")

    def hidden_states(self, token_ids: Tensor, training: bool = False, next_ids: Tensor = None) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T]; see `LanguageModel`, and `TransformerDecoder` on `next_ids`."""
        state = self.initial_state(ops.shape(token_ids)[0], ops.shape(token_ids)[1])
        outputs, _, _ = self._run(self.embed_rows(token_ids, training, None, next_ids), state, None, training)
        return outputs

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """Zero `hidden` and `cell` states, float [B, num_layers, hidden_dim] each; and with counted n-grams
        `recent_ids` int32 [B, C], the last tokens, -1 before the first. `max_length` is ignored."""
        del max_length, context
        config = self.config
        hidden, cell = zero_state(batch_size, config.num_layers, config.hidden_dim, self.compute_dtype)
        parts = {"hidden": hidden, "cell": cell}
        if self.ngram_embedding is not None:
            parts["recent_ids"] = ops.full((batch_size, self.ngram_embedding.longest), -1, dtype="int32")
        return self.new_state(batch_size, num_padding, parts)

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs over K tokens; padding leaves the hidden and cell states unchanged."""
        mask, counted, new = left_padding_mask(token_ids, state), None, state
        if self.ngram_embedding is not None:
            size, count = self.ngram_embedding.longest, ops.shape(token_ids)[1]
            ids = ops.concatenate([state["recent_ids"], ops.where(mask, token_ids, -1)], axis=1)
            places = size + ops.arange(count, dtype="int32")
            counted = self.ngrams_of(windows_of(ids, places, ops.zeros_like(ids[:, 0]), size))
            new = {**state, "recent_ids": ids[:, count:]}
        outputs, hidden, cell = self._run(self.embed(token_ids, added=counted), state, mask, training=False)
        return outputs, advance_state(new, token_ids, hidden, cell)

    def _run(
        self, embedded: Tensor, state: State, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        initial = state["hidden"], state["cell"]
        return run_layers(self.layers_in_order, embedded, initial, mask, self.dropout, training)


def left_padding_mask(token_ids: Tensor, state: State) -> Tensor:
    """Padding mask of the next K tokens int32 [B, K], given the left padding in the state: bool [B, K], True is
    real."""
    positions = state["cache_index"] + ops.arange(ops.shape(token_ids)[1], dtype="int32")
    return positions[None] >= state["num_padding"][:, None]


def advance_state(state: State, token_ids: Tensor, hidden: Tensor, cell: Tensor) -> State:
    """The state after K tokens int32 [B, K], with the new `hidden` and `cell`."""
    index = state["cache_index"] + ops.shape(token_ids)[1]
    return {**state, "hidden": hidden, "cell": cell, "cache_index": index}
