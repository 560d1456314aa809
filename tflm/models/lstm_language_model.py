"""An LSTM language model (Zaremba et al., 2014), with tied embeddings (Press and Wolf, 2017)."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers import LSTM
from tflm.models.language_model import LanguageModel, State

Tensor = Any


@dataclasses.dataclass(frozen=True)
class LSTMConfig:
    """Sizes of an `LSTMLanguageModel`."""

    kind: str = "lstm"
    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    num_layers: int = 2
    hidden_dim: int = 256
    """Width of the hidden and cell vectors, and of the embedding."""
    max_length: int = 256
    """The longest text in tokens that training and generation use; the model itself has no limit."""
    tied_output: bool = True
    """The output layer is the embedding, transposed."""
    dropout: float = 0.0
    """On the embedding and on the output of each layer, not from step to step (Zaremba et al., 2014)."""
    initializer_range: float = 0.05
    """Standard deviation of the initial embedding."""

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_dim", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")


class LSTMLanguageModel(LanguageModel):
    """Embedding, LSTM layers, and the head."""

    def __init__(self, config: LSTMConfig, **kwargs: Any) -> None:
        super().__init__(name="lstm_language_model", **kwargs)
        self.config = config
        self.embedding = keras.layers.Embedding(
            config.vocab_size,
            config.hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            name="token_embedding",
        )
        self.layers_in_order = [LSTM(config.hidden_dim, name=f"lstm_{i}") for i in range(config.num_layers)]
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")
        if not config.tied_output:
            self.head = keras.layers.Dense(config.vocab_size, name="head")
            with keras.name_scope(self.name):
                self.head.build((None, None, config.hidden_dim))

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T]; see `LanguageModel`."""
        state = self.initial_state(ops.shape(token_ids)[0], ops.shape(token_ids)[1])
        outputs, _, _ = self._run(token_ids, state, None, training)
        return outputs

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """`hidden` and `cell` float [B, num_layers, hidden_dim], zeros; the length does not matter."""
        del max_length, context
        shape = (batch_size, self.config.num_layers, self.config.hidden_dim)
        parts = {
            "hidden": ops.zeros(shape, dtype=self.compute_dtype),
            "cell": ops.zeros(shape, dtype="float32"),
        }
        return self.new_state(batch_size, num_padding, parts)

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs over K tokens; a row's padding leaves its vectors as they were."""
        count = ops.shape(token_ids)[1]
        places = (state["cache_index"] + ops.arange(count, dtype="int32"))[None]
        mask = places >= state["num_padding"][:, None]
        outputs, hidden, cell = self._run(token_ids, state, mask, training=False)
        return outputs, {**state, "hidden": hidden, "cell": cell, "cache_index": state["cache_index"] + count}

    def _run(
        self, token_ids: Tensor, state: State, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = self.dropout(self.embedding(token_ids), training=training)
        hidden, cell = [], []
        for index, layer in enumerate(self.layers_in_order):
            x, last_hidden, last_cell = layer(x, state["hidden"][:, index], state["cell"][:, index], mask)
            x = self.dropout(x, training=training)
            hidden.append(last_hidden)
            cell.append(last_cell)
        return x, ops.stack(hidden, axis=1), ops.stack(cell, axis=1)
