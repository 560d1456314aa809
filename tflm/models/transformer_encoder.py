"""A bidirectional Transformer encoder, as in BERT (Devlin et al., 2019)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from tflm.config import option
from tflm.errors import UserError
from tflm.layers import make_norm, padding_mask
from tflm.layers.linear import Linear
from tflm.layers.output_bias import OutputBias
from tflm.models.layer_groups import LayerGroup
from tflm.models.text_model import TextModel, register_model
from tflm.models.transformer_config import TransformerConfig
from tflm.models.transformer_stack import TransformerStack

Tensor = Any


@dataclasses.dataclass(frozen=True)
class TransformerEncoderConfig(TransformerConfig):
    """Hyperparameters of a `TransformerEncoder`."""

    kind: str = "transformer_encoder"
    num_segments: int = 2
    """Number of segment embeddings; 0 or 1 for none."""
    head_transform: bool = True
    """Add a dense layer, GELU and a norm between the hidden states and the output layer, as in BERT."""
    embedding_dim: int = option(0)
    """Width of the token, position and segment embeddings, which are then projected; 0 for hidden_dim."""
    shared_layers: bool = option(False)
    """All layers share one set of weights (Lan et al., 2020)."""
    output_bias: bool = option(False)
    """A bias for each token in the output layer."""
    pooler: bool = option(False)
    """Keep BERT's pooler, a dense layer with tanh on the first hidden state. It is not trained: a head that pools has
    its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim < 0:
            raise ValueError(f"embedding_dim is 0, for hidden_dim, or more; got {self.embedding_dim}.")
        if self.embedding_dim not in (0, self.hidden_dim) and not self.tied_output:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} apart from hidden_dim={self.hidden_dim} needs tied_output."
            )

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings."""
        return self.embedding_dim or self.hidden_dim


@register_model("transformer_encoder")
class TransformerEncoder(TextModel):
    """Token and segment embeddings, Transformer blocks, final norm; for masked language modeling, a transform before
    the output layer."""

    config_class = TransformerEncoderConfig
    features = ("segment_ids",)
    layer_groups = (LayerGroup("encoder/block"),)
    output_layer_names = ("head", "head_transform", "head_norm", "output_bias", "pooler")

    def __init__(self, config: TransformerEncoderConfig, **kwargs: Any) -> None:
        super().__init__(config, name="transformer_encoder", **kwargs)
        if config.num_segments > 1:
            self.segment_embedding = keras.layers.Embedding(
                config.num_segments,
                config.embedding_width,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                name="segment_embedding",
            )
        self.encoder = TransformerStack(config, config.num_layers, causal=False, name="encoder")
        if config.head_transform:
            self.transform = Linear(config.embedding_width, name="head_transform")
            self.transform_norm = make_norm(config.norm, config.norm_epsilon, "head_norm")
        self.output_bias = OutputBias(name="output_bias") if config.output_bias else None
        self.pooler = None
        if config.pooler:
            self.pooler = Linear(config.hidden_dim, activation="tanh", name="pooler")
            with keras.name_scope("transformer_encoder"):
                self.pooler.build((None, config.hidden_dim))
            self.pooler.trainable = False

    def adapted_layers(self) -> Iterator[keras.layers.Dense]:
        """The projections of attention and feed-forward."""
        return self.encoder.projections()

    def hidden_states(self, token_ids: Tensor, training: bool = False, segment_ids: Tensor = None) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T].

        Args:
            token_ids: int32 [B, T], padded with `pad_id`.
            training: bool, with dropout.
            segment_ids: int32 [B, T], segment of each token; None for all 0.
        """
        embedded = self.embed(token_ids, training)
        if self.config.num_segments > 1:
            segments = ops.zeros_like(token_ids) if segment_ids is None else segment_ids
            embedded = embedded + self.segment_embedding(segments)
        positions = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        return self.encoder(
            embedded, padding_mask(token_ids, self.config.pad_id)[:, None], positions, training=training
        )[0]

    def output_layers(self) -> list[keras.layers.Layer]:
        """The output layer of `TextModel` and the transform before it."""
        transform = [self.transform, self.transform_norm] if self.config.head_transform else []
        return [*super().output_layers(), *transform, *filter(None, [self.output_bias, self.pooler])]

    def pooled(self, hidden_states: Tensor) -> Tensor:
        """BERT's summary of a text, float [B, D] from hidden states [B, T, D]; of a model with `pooler`."""
        assert self.pooler is not None
        return self.pooler(hidden_states[:, 0])

    def logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [..., V] from hidden states [..., D]."""
        if self.config.head_transform:
            exact = self.config.activation == "gelu_exact"
            hidden_states = ops.gelu(self.transform(hidden_states), approximate=not exact)
            hidden_states = self.transform_norm(hidden_states)
        elif self.config.embedding_width != self.config.hidden_dim:
            raise UserError(
                f"this model has no output layer: embedding_dim={self.config.embedding_width} apart from "
                f"hidden_dim={self.config.hidden_dim} needs head_transform: --set "
                "model.head_transform=true, which begins untrained."
            )
        return super().logits(hidden_states)

    def finish_logits(self, products: Tensor) -> Tensor:
        """See `TextModel`; with the bias of the tokens, if there is one."""
        return super().finish_logits(products if self.output_bias is None else self.output_bias(products))

    def build_variables(self) -> None:
        """Creates every variable by a forward pass over two tokens."""
        if self.config.head_transform or self.config.embedding_width == self.config.hidden_dim:
            super().build_variables()
        else:
            with keras.name_scope(self.name):
                self.hidden_states(ops.zeros((1, 2), dtype="int32"))
