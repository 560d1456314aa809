"""A Transformer encoder-decoder: the original Transformer (Vaswani et al., 2017) or T5 (Raffel et al., 2020), depending
on the config."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tflm.layers import causal_mask, padding_mask
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.text_model import register_model
from tflm.models.transformer_config import TransformerConfig
from tflm.models.transformer_decoder import (
    empty_caches,
    extend_caches,
    rewind_caches,
    step_over_caches,
)
from tflm.models.transformer_stack import TransformerStack

Tensor = Any


@dataclasses.dataclass(frozen=True)
class TransformerEncoderDecoderConfig(TransformerConfig):
    """Hyperparameters of a `TransformerEncoderDecoder`. `num_layers` is the number of encoder blocks."""

    kind: str = "transformer_encoder_decoder"
    num_decoder_layers: int = 0
    """Number of decoder blocks; 0 for num_layers."""


@register_model("transformer_encoder_decoder")
class TransformerEncoderDecoder(LanguageModel):
    """A bidirectional encoder and a causal decoder with cross-attention; both share one embedding."""

    config_class = TransformerEncoderDecoderConfig
    architecture = "encoder-decoder"
    features = ("source_ids",)
    layer_groups = (LayerGroup("encoder/block", on_top=("encoder/final_norm",)), LayerGroup("decoder/block"))
    has_encoder = True
    can_rewind = True

    def __init__(self, config: TransformerEncoderDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_encoder_decoder", **kwargs)
        num_decoder_layers = config.num_decoder_layers or config.num_layers
        self.encoder = TransformerStack(config, config.num_layers, causal=False, name="encoder")
        self.decoder = TransformerStack(config, num_decoder_layers, causal=True, cross=True, name="decoder")

    def build(self, input_shape: Any = None) -> None:
        """Builds both stacks up front: `memories` calls the key and value projections of the decoder on their own."""
        del input_shape
        for part in (self.embedding, self.encoder, self.decoder):
            part.build((None, None, self.config.hidden_dim))
        self.built = True

    def adapted_layers(self) -> Iterator[keras.layers.Dense]:
        """The projections of attention and feed-forward, of both sides."""
        yield from self.encoder.projections()
        yield from self.decoder.projections()

    def encode(self, source_ids: Tensor, training: bool = False) -> dict[str, Tensor]:
        """A dict for int32 [B, S]: `hidden_states` float [B, S, hidden_dim] and `mask` bool [B, S]."""
        mask = padding_mask(source_ids, self.config.pad_id)
        positions = ops.arange(ops.shape(source_ids)[1], dtype="int32")[None]
        states, _ = self.encoder(
            self.embed(source_ids, training), mask[:, None], positions, training=training
        )
        return {"hidden_states": states, "mask": mask}

    def hidden_states(self, token_ids: Tensor, training: bool = False, source_ids: Tensor = None) -> Tensor:
        """Hidden states of the decoder, float [B, T, hidden_dim].

        Args:
            token_ids: int32 [B, T], decoder inputs, beginning with the start token.
            training: bool, with dropout.
            source_ids: int32 [B, S], padded with `pad_id`.
        """
        context = self.encode(source_ids, training=training)
        length = ops.shape(token_ids)[1]
        return self.decoder(
            self.embed(token_ids, training),
            causal_mask(length),
            ops.arange(length, dtype="int32")[None],
            memories=self.decoder.memories(context["hidden_states"]),
            memory_mask=context["mask"][:, None],
            training=training,
        )[0]

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Any = None
    ) -> State:
        """Empty key/value caches; and for the cross-attention `memory_keys` and `memory_values`, a tensor float
        [B, num_kv_heads, S, head_dim] per block, and `memory_mask` bool [B, S]."""
        keys, values = zip(*self.decoder.memories(context["hidden_states"]), strict=True)
        memory = {"memory_keys": keys, "memory_values": values, "memory_mask": context["mask"]}
        return self.new_state(
            batch_size, num_padding, {**empty_caches(self, batch_size, max_length), **memory}
        )

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Writes K positions into the caches at `cache_index`; attends over them and over the encoder output."""
        memories = list(zip(state["memory_keys"], state["memory_values"], strict=True))
        return step_over_caches(self, token_ids, state, memories, state["memory_mask"][:, None])

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """The state with `num_positions` more cache positions; the memory is unchanged."""
        return extend_caches(state, num_positions)

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """See `LanguageModel` and `rewind_caches`; the memory is unchanged."""
        return rewind_caches(state, num_positions)

    def build_variables(self) -> None:
        """Creates every variable."""
        self.build()
