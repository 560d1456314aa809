"""A Transformer encoder-decoder: the 2017 model (Vaswani et al., 2017) and T5 (Raffel et al., 2020) by its config."""

import dataclasses
from typing import Any

from keras import ops

from tflm.layers import causal_mask, padding_mask
from tflm.models.language_model import LanguageModel, State
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
    """Sizes and choices of a `TransformerEncoderDecoder`. `num_layers` are the encoder's."""

    kind: str = "transformer_encoder_decoder"
    num_decoder_layers: int = 0
    """0 for as many as the encoder has."""


class TransformerEncoderDecoder(LanguageModel):
    """One embedding for both sides and the output. The encoder reads the source once; the decoder attends to it."""

    has_encoder = True
    can_rewind = True

    def __init__(self, config: TransformerEncoderDecoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_encoder_decoder", **kwargs)
        num_decoder_layers = config.num_decoder_layers or config.num_layers
        self.encoder = TransformerStack(config, config.num_layers, causal=False, name="encoder")
        self.decoder = TransformerStack(config, num_decoder_layers, causal=True, cross=True, name="decoder")

    def build(self, input_shape: Any = None) -> None:
        """Both stacks, before either is called: `memories` reads parts of the decoder alone."""
        del input_shape
        for part in (self.embedding, self.encoder, self.decoder):
            part.build((None, None, self.config.hidden_dim))
        self.built = True

    def encode(self, source_ids: Tensor, training: bool = False) -> dict[str, Tensor]:
        """`hidden_states` float [B, S, hidden_dim] and `mask` bool [B, S], of int32 [B, S]."""
        mask = padding_mask(source_ids)
        positions = ops.arange(ops.shape(source_ids)[1], dtype="int32")[None]
        states, _ = self.encoder(
            self.embed(source_ids, training), mask[:, None], positions, training=training
        )
        return {"hidden_states": states, "mask": mask}

    def hidden_states(self, token_ids: Tensor, training: bool = False, source_ids: Tensor = None) -> Tensor:
        """The decoder's, float [B, T, hidden_dim].

        Args:
            token_ids: int32 [B, T], what was written so far, from the start token on.
            training: bool, with dropout.
            source_ids: int32 [B, S], padded with 0.
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
        """Empty caches, and what the decoder will need of the source: `memory_keys` and `memory_values`, a tensor
        float [B, num_kv_heads, S, head_dim] for each layer, and `memory_mask` bool [B, S]."""
        keys, values = zip(*self.decoder.memories(context["hidden_states"]), strict=True)
        memory = {"memory_keys": keys, "memory_values": values, "memory_mask": context["mask"]}
        return self.new_state(
            batch_size, num_padding, {**empty_caches(self, batch_size, max_length), **memory}
        )

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Writes K positions into the caches at `cache_index`; attends over them and over the source."""
        memories = list(zip(state["memory_keys"], state["memory_values"], strict=True))
        return step_over_caches(self, token_ids, state, memories, state["memory_mask"][:, None])

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """Caches with `num_positions` more places; the memory stays."""
        return extend_caches(state, num_positions)

    def rewind(self, state: State, num_positions: Tensor) -> State:
        """See `LanguageModel` and `rewind_caches`; the memory stays."""
        return rewind_caches(state, num_positions)

    def build_variables(self) -> None:
        """Makes every variable."""
        self.build()
