"""An LSTM encoder-decoder with attention (Bahdanau et al., 2015; Luong et al., 2015)."""

import dataclasses
from typing import Any

from keras import ops

from tflm.layers import (
    LSTM,
    AttentiveLSTM,
    Dropout,
    LuongAttention,
    SourceAttention,
    padding_mask,
    run_layers,
)
from tflm.layers.linear import Linear
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.lstm_config import LSTMConfig, check_bidirectional
from tflm.models.lstm_encoder import make_encoder_layers, run_encoder
from tflm.models.lstm_language_model import advance_state, left_padding_mask
from tflm.models.text_model import register_model

Tensor = Any

ATTENTIONS = ("luong", "bahdanau")


@dataclasses.dataclass(frozen=True)
class LSTMEncoderDecoderConfig(LSTMConfig):
    """Hyperparameters of an `LSTMEncoderDecoder`: `num_layers` in the encoder and in the decoder each; `hidden_dim`
    is even, half for each direction of the encoder."""

    kind: str = "lstm_encoder_decoder"
    attention: str = "luong"
    """luong: attention on top of the decoder, computed for the whole target at once. bahdanau: attention inside each
    decoder step, as an input of the first layer; slower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bidirectional(self)
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention is one of {', '.join(ATTENTIONS)}; got {self.attention!r}.")


@register_model("lstm_encoder_decoder")
class LSTMEncoderDecoder(LanguageModel):
    """A bidirectional encoder and a decoder with attention, with a shared embedding. The initial state of the decoder
    is computed from the final state of the encoder."""

    config_class = LSTMEncoderDecoderConfig
    architecture = "encoder-decoder"
    features = ("source_ids",)
    layer_groups = (LayerGroup("encoder", on_top=("bridge_",)), LayerGroup("decoder"))
    has_encoder = True

    def __init__(self, config: LSTMEncoderDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="lstm_encoder_decoder", **kwargs)
        width, numbers = config.hidden_dim, range(config.num_layers)
        self.dropout = Dropout(config.dropout, name="dropout")
        self.encoder = make_encoder_layers(config, "encoder")
        self.bridges = [Linear(2 * width, name=f"bridge_{i}") for i in numbers]
        if config.attention == "luong":
            self.decoder: list[Any] = [LSTM(width, name=f"decoder_{i}") for i in numbers]
            self.luong_attention = LuongAttention(width, name="attention")
            self.attentional = Linear(width, use_bias=False, activation="tanh", name="attentional")
        else:
            above = [LSTM(width, name=f"decoder_{i}") for i in numbers[1:]]
            self.decoder = [AttentiveLSTM(width, name="decoder_0"), *above]

    def build(self, input_shape: Any = None) -> None:
        """Builds every layer up front: `initial_state` calls the key projection of the attention on its own."""
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
        """Encodes int32 [B, S].

        Returns:
            A dict: `hidden_states` float [B, S, hidden_dim], `mask` bool [B, S], and the final `hidden` and `cell`
            states of all layers, float [B, num_layers, hidden_dim] each.
        """
        mask = padding_mask(source_ids, self.config.pad_id)
        states, hidden, cell = run_encoder(self, self.encoder, source_ids, mask, training)
        return {"hidden_states": states, "mask": mask, "hidden": hidden, "cell": cell}

    def hidden_states(self, token_ids: Tensor, training: bool = False, source_ids: Tensor = None) -> Tensor:
        """Hidden states of the decoder, float [B, T, hidden_dim].

        Args:
            token_ids: int32 [B, T], decoder inputs, beginning with the start token.
            training: bool, with dropout.
            source_ids: int32 [B, S], padded with `pad_id` on the right.
        """
        context = self.encode(source_ids, training=training)
        batch_size, length = ops.shape(token_ids)[0], ops.shape(token_ids)[1]
        state = self.initial_state(batch_size, length, context=context)
        return self._run(token_ids, state, None, training)[0]

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Any = None
    ) -> State:
        """`hidden` and `cell` float [B, num_layers, hidden_dim], computed from the final encoder state; and for the
        attention `memory_keys` and `memory_values` float [B, S, hidden_dim] and `memory_mask` bool [B, S]."""
        del max_length
        hidden, cell = self._bridge(context["hidden"], context["cell"])
        values = context["hidden_states"]
        memory = {"memory_keys": self._attention.keys(values), "memory_values": values}
        parts = {"hidden": hidden, "cell": cell, **memory, "memory_mask": context["mask"]}
        return self.new_state(batch_size, num_padding, parts)

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Runs over K tokens; padding leaves the hidden and cell states unchanged."""
        outputs, hidden, cell = self._run(
            token_ids, state, left_padding_mask(token_ids, state), training=False
        )
        return outputs, advance_state(state, token_ids, hidden, cell)

    def build_variables(self) -> None:
        """Makes every variable."""
        self.build()

    @property
    def _attention(self) -> SourceAttention:
        return self.luong_attention if self.config.attention == "luong" else self.decoder[0].attention

    def _bridge(self, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Initial decoder states: one dense layer per LSTM layer, applied to the final encoder states of that layer."""
        final = ops.concatenate([hidden, ops.cast(cell, hidden.dtype)], axis=-1)
        initial = ops.stack([bridge(final[:, i]) for i, bridge in enumerate(self.bridges)], axis=1)
        new_hidden, new_cell = ops.split(initial, 2, axis=-1)
        return ops.tanh(new_hidden), ops.cast(new_cell, "float32")

    def _run(
        self, token_ids: Tensor, state: State, mask: Tensor, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        memory = state["memory_keys"], state["memory_values"], state["memory_mask"]

        def first(*inputs: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
            return self.decoder[0](*inputs, memory, training=training)

        layers = self.decoder if self.config.attention == "luong" else [first, *self.decoder[1:]]
        initial = state["hidden"], state["cell"]
        x, hidden, cell = run_layers(
            layers, self.embed(token_ids, training), initial, mask, self.dropout, training
        )
        if self.config.attention == "luong":
            x = self.attentional(ops.concatenate([self.luong_attention(x, *memory), x], axis=-1))
        return x, hidden, cell
