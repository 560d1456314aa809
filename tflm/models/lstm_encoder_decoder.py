"""An LSTM encoder-decoder with attention (Bahdanau et al., 2015; Luong et al., 2015)."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers import LSTM, AttentiveLSTM, LuongAttention, SourceAttention, padding_mask, run_layers
from tflm.models.language_model import LanguageModel, State
from tflm.models.lstm_config import LSTMConfig, require_even_width
from tflm.models.lstm_encoder import make_encoder_layers, run_encoder
from tflm.models.lstm_language_model import real_places, step_on

Tensor = Any

ATTENTIONS = ("luong", "bahdanau")


@dataclasses.dataclass(frozen=True)
class LSTMEncoderDecoderConfig(LSTMConfig):
    """Sizes of an `LSTMEncoderDecoder`: `num_layers` on each side; `hidden_dim` is even, since half of the
    encoder's is for each direction."""

    kind: str = "lstm_encoder_decoder"
    attention: str = "luong"
    """luong: what the decoder has read is compared with the source, for the whole target at once. bahdanau: the
    source is looked at before each step, and enters it; slower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_even_width(self)
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is one of {', '.join(ATTENTIONS)}; got {self.attention!r}.")


class LSTMEncoderDecoder(LanguageModel):
    """One embedding for both sides. The encoder reads the source both ways, once; the decoder sets out from where
    the encoder ended, and attends to what it saw."""

    has_encoder = True

    def __init__(self, config: LSTMEncoderDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_encoder_decoder", **kwargs)
        width, numbers = config.hidden_dim, range(config.num_layers)
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")
        self.encoder = make_encoder_layers(config, "encoder")
        self.bridges = [keras.layers.Dense(2 * width, name=f"bridge_{i}") for i in numbers]
        if config.attention == "luong":
            self.decoder: list[Any] = [LSTM(width, name=f"decoder_{i}") for i in numbers]
            self.luong_attention = LuongAttention(width, name="attention")
            self.attentional = keras.layers.Dense(
                width, use_bias=False, activation="tanh", name="attentional"
            )
        else:
            above = [LSTM(width, name=f"decoder_{i}") for i in numbers[1:]]
            self.decoder = [AttentiveLSTM(width, name="decoder_0"), *above]

    def build(self, input_shape: Any = None) -> None:
        """Every part, before one is called: the memory's keys are made by a part of the attention."""
        del input_shape
        width = self.config.hidden_dim
        self.embedding.build()
        for side in (self.encoder, self.decoder):
            for index, layer in enumerate(side):
                layer.build((None, None, width if index else self.config.embedding_dim or width))
        for bridge in self.bridges:
            bridge.build((None, 2 * width))
        if self.config.attention == "luong":
            self.luong_attention.build((None, None, width))
            self.attentional.build((None, None, 2 * width))
        self.built = True

    def encode(self, source_ids: Tensor, training: bool = False) -> dict[str, Tensor]:
        """Of int32 [B, S]: `hidden_states` float [B, S, hidden_dim], `mask` bool [B, S], and each layer's last
        `hidden` and `cell` vectors float [B, num_layers, hidden_dim]."""
        mask = padding_mask(source_ids)
        states, hidden, cell = run_encoder(self, self.encoder, source_ids, mask, training)
        return {"hidden_states": states, "mask": mask, "hidden": hidden, "cell": cell}

    def hidden_states(self, token_ids: Tensor, training: bool = False, source_ids: Tensor = None) -> Tensor:
        """The decoder's, float [B, T, hidden_dim].

        Args:
            token_ids: int32 [B, T], what was written so far, from the start token on.
            training: bool, with dropout.
            source_ids: int32 [B, S], padded with 0 on the right.
        """
        context = self.encode(source_ids, training=training)
        batch_size, length = ops.shape(token_ids)[0], ops.shape(token_ids)[1]
        state = self.initial_state(batch_size, length, context=context)
        return self._run(token_ids, state, None, training)[0]

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Any = None
    ) -> State:
        """`hidden` and `cell` float [B, num_layers, hidden_dim], from where the encoder ended; and of the source
        `memory_keys` and `memory_values` float [B, S, hidden_dim] and `memory_mask` bool [B, S]."""
        del max_length
        hidden, cell = self._bridge(context["hidden"], context["cell"])
        values = context["hidden_states"]
        memory = {"memory_keys": self._attention.keys(values), "memory_values": values}
        parts = {"hidden": hidden, "cell": cell, **memory, "memory_mask": context["mask"]}
        return self.new_state(batch_size, num_padding, parts)

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs over K tokens; a row's padding leaves its vectors as they were."""
        outputs, hidden, cell = self._run(token_ids, state, real_places(token_ids, state), training=False)
        return outputs, step_on(state, token_ids, hidden, cell)

    def build_variables(self) -> None:
        """Makes every variable."""
        self.build()

    @property
    def _attention(self) -> SourceAttention:
        return self.luong_attention if self.config.attention == "luong" else self.decoder[0].attention

    def _bridge(self, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's first vectors: each layer's are made of those of the encoder's layer beside it."""
        ends = ops.concatenate([hidden, ops.cast(cell, hidden.dtype)], axis=-1)
        starts = ops.stack([bridge(ends[:, i]) for i, bridge in enumerate(self.bridges)], axis=1)
        new_hidden, new_cell = ops.split(starts, 2, axis=-1)
        return ops.tanh(new_hidden), ops.cast(new_cell, "float32")

    def _run(
        self, token_ids: Tensor, state: State, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        memory = state["memory_keys"], state["memory_values"], state["memory_mask"]

        def first(*inputs: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
            return self.decoder[0](*inputs, memory, training=training)

        layers = self.decoder if self.config.attention == "luong" else [first, *self.decoder[1:]]
        before = state["hidden"], state["cell"]
        x, hidden, cell = run_layers(
            layers, self.embed(token_ids, training), before, mask, self.dropout, training
        )
        if self.config.attention == "luong":
            x = self.attentional(ops.concatenate([self.luong_attention(x, *memory), x], axis=-1))
        return x, hidden, cell
