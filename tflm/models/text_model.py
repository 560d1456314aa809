"""The base class of all models: token embedding, hidden states, output layer over the vocabulary; and the registry of
model families.

    @dataclasses.dataclass(frozen=True)
    class BagConfig(ModelConfig):
        kind: str = "bag"

    @register_model("bag")
    class Bag(TextModel):
        config_class = BagConfig
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import keras
from keras import ops

from tflm.config import KindConfig, KindRegistry, option
from tflm.layers import Dropout, probed, soft_cap
from tflm.layers.fusion import is_fusing
from tflm.layers.linear import Linear, TokenEmbedding, as_dtype, product, rows_product, transposed
from tflm.layers.quantized import QuantizedMatrix
from tflm.models.layer_groups import LayerGroup

Tensor = Any

MODELS: KindRegistry["TextModel"] = KindRegistry("model family", "register_model", "tflm.models")
register_model = MODELS.register


@dataclasses.dataclass(frozen=True)
class ModelConfig(KindConfig):
    """Sizes that every family has. Each adds its own, and sets `kind`."""

    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    hidden_dim: int = 256
    """Width of the hidden states."""
    max_length: int = 256
    """The longest text in tokens."""
    initializer_range: float = 0.02
    """Standard deviation of the initial embedding."""
    pad_id: int = option(0)
    """The token that fills rows up; no text has it. The tokenizer's."""
    registry: ClassVar[KindRegistry["TextModel"]] = MODELS


class TextModel(keras.Model):
    """The contract of all model families. A subclass implements `hidden_states` and declares its class attributes.

    Args:
        config: with `vocab_size`, `hidden_dim` and `initializer_range`; optional: `embedding_dim`, `token_dropout`,
            `tied_output`, `scale_embedding`, `output_scale`, `logit_cap`.
        name: the first component of every variable path.
    """

    config_class: ClassVar[type[ModelConfig]]
    """The dataclass of its sizes and choices."""
    architecture: ClassVar[str] = "encoder"
    """encoder, decoder, encoder-decoder, or a word for what is none of them: a task says which it accepts."""
    features: ClassVar[tuple[str, ...]] = ()
    """What `hidden_states` takes besides the tokens: segment_ids, document_ids, source_ids."""
    layer_groups: ClassVar[tuple[LayerGroup, ...]] = ()
    """Its stacks of layers, from the input up, for freezing and layer-wise learning rates."""
    output_layer_names: ClassVar[tuple[str, ...]] = ("head",)
    """The names of layers that `logits` alone uses, whether this model has them or not."""

    head: keras.layers.Dense | None = None

    def __init__(self, config: Any, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.config = config
        initializer = keras.initializers.RandomNormal(stddev=config.initializer_range)
        self.embedding = TokenEmbedding(
            config.vocab_size,
            getattr(config, "embedding_dim", 0) or config.hidden_dim,
            embeddings_initializer=initializer,
            name="token_embedding",
        )
        self.token_dropout = Dropout(
            getattr(config, "token_dropout", 0.0), noise_shape=(None, None, 1), name="token_dropout"
        )
        if not getattr(config, "tied_output", True):
            # A new instance, hence a new seed: a Keras initializer always draws the same values.
            initializer = keras.initializers.RandomNormal(stddev=config.initializer_range)
            self.head = Linear(config.vocab_size, use_bias=False, kernel_initializer=initializer, name="head")
            with keras.name_scope(name):
                self.head.build((None, None, config.hidden_dim))

    def call(self, token_ids: Tensor, training: bool = False, **features: Tensor) -> Tensor:
        """Logits float32 [B, T, V] for `token_ids` int32 [B, T]; `features` are passed to `hidden_states`."""
        return self.logits(self.hidden_states(token_ids, training=training, **features))

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """Hidden states float [B, T, D] of `token_ids` int32 [B, T], padded with `pad_id` on the right."""
        raise NotImplementedError(f"{type(self).__name__} does not implement hidden_states().")

    def embed(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """Token embeddings without positions: float [B, T, E] of int32 [B, T]; E is the `embedding_dim` of the config
        if set, else `hidden_dim`.

        In training, the embedding of a token is zeroed with probability `token_dropout` and scaled up otherwise (word
        dropout; Iyyer et al., 2015, section 2.2).
        """
        embedded = probed("tokens", self.embedding(token_ids), token_ids)
        embedded = self.token_dropout(embedded, training=training)
        if getattr(self.config, "scale_embedding", False):
            embedded = embedded * self.config.hidden_dim**0.5
        return embedded

    def logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [..., V] from hidden states [..., D]."""
        hidden_states, rows = self.scale_outputs(hidden_states), self.output_rows()
        if is_fusing() and not (rows is None or isinstance(rows, QuantizedMatrix)):
            return self.finish_logits(rows_product(hidden_states, as_dtype(rows, hidden_states.dtype)))
        kernel = as_dtype(self.output_kernel(), hidden_states.dtype)
        return self.finish_logits(product(hidden_states, kernel))

    def scale_outputs(self, hidden_states: Tensor) -> Tensor:
        """`hidden_states` times the `output_scale` of the config, if it has one."""
        scale = getattr(self.config, "output_scale", 1.0)
        return hidden_states if scale == 1.0 else hidden_states * scale

    def finish_logits(self, products: Tensor) -> Tensor:
        """Logits float32 [..., V] from the products of hidden states and the output kernel: in float32, with the
        `logit_cap` of the config, if it has one."""
        cap = getattr(self.config, "logit_cap", 0.0)
        logits = ops.cast(products, "float32")
        return soft_cap(logits, cap) if cap else logits

    def output_rows(self) -> Tensor:
        """Kernel of the output layer as rows [V, D] where it is stored so, as the embedding is if tied (Press and Wolf,
        2017); else None."""
        return self.embedding.embeddings if self.head is None else None

    def output_kernel(self) -> Tensor:
        """Kernel [D, V] of the output layer, a tensor or a QuantizedMatrix."""
        if self.head is not None:
            return self.head.kernel
        return transposed(self.output_rows())

    def output_layers(self) -> list[keras.layers.Layer]:
        """Layers used by `logits` only, and unused under another head."""
        return [] if self.head is None else [self.head]

    def adapted_layers(self) -> Iterator[keras.layers.Dense]:
        """The layers that low-rank adapters (LoRA) are added to; none by default."""
        return iter(())

    def build_variables(self) -> None:
        """Creates every variable by a forward pass over two tokens."""
        self(ops.zeros((1, 2), dtype="int32"))

    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return int(sum(ops.size(variable) for variable in self.trainable_variables))
