"""A Transformer encoder, BERT's family (Devlin et al., 2019): every place sees the whole text."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers import make_norm, padding_mask
from tflm.models.text_model import TextModel
from tflm.models.transformer_config import TransformerConfig
from tflm.models.transformer_stack import TransformerStack

Tensor = Any


@dataclasses.dataclass(frozen=True)
class TransformerEncoderConfig(TransformerConfig):
    """Sizes and choices of a `TransformerEncoder`."""

    kind: str = "transformer_encoder"
    num_segments: int = 2
    """How many texts one row can hold, told apart by an embedding; 0 or 1 for none."""
    head_transform: bool = True
    """A dense layer, GELU and a norm between the hidden states and the output layer, as BERT has."""


class TransformerEncoder(TextModel):
    """Embedding and segments, blocks, a last norm; for masked words, a transform before the output layer."""

    def __init__(self, config: TransformerEncoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_encoder", **kwargs)
        if config.num_segments > 1:
            self.segment_embedding = keras.layers.Embedding(
                config.num_segments,
                config.hidden_dim,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                name="segment_embedding",
            )
        self.encoder = TransformerStack(config, config.num_layers, causal=False, name="encoder")
        if config.head_transform:
            self.transform = keras.layers.Dense(config.hidden_dim, name="head_transform")
            self.transform_norm = make_norm(config.norm, config.norm_epsilon, "head_norm")

    def hidden_states(self, token_ids: Tensor, training: bool = False, segment_ids: Tensor = None) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T].

        Args:
            token_ids: int32 [B, T], padded with 0.
            training: bool, with dropout.
            segment_ids: int32 [B, T], which text of its row a token belongs to; None for all 0.
        """
        embedded = self.embed(token_ids, training)
        if self.config.num_segments > 1:
            segments = ops.zeros_like(token_ids) if segment_ids is None else segment_ids
            embedded = embedded + self.segment_embedding(segments)
        positions = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        return self.encoder(embedded, padding_mask(token_ids)[:, None], positions, training=training)[0]

    def output_layers(self) -> list[keras.layers.Layer]:
        """Also the transform before the output layer."""
        transform = [self.transform, self.transform_norm] if self.config.head_transform else []
        return [*super().output_layers(), *transform]

    def logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [..., V] from hidden states [..., D]."""
        if self.config.head_transform:
            hidden_states = ops.gelu(self.transform(hidden_states), approximate=True)
            hidden_states = self.transform_norm(hidden_states)
        return super().logits(hidden_states)
