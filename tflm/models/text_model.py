"""What every model over text has: an embedding, hidden states, and a head that gives logits over the vocabulary."""

from typing import Any

import keras
from keras import ops

from tflm.layers.linear import product

Tensor = Any


class TextModel(keras.Model):
    """The contract of all families. A subclass gives `hidden_states`.

    Args:
        config: with `vocab_size`, `hidden_dim`, `initializer_range` and `tied_output`.
        name: the first part of every variable's path.
    """

    head: keras.layers.Dense | None = None

    def __init__(self, config: Any, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.config = config
        initializer = keras.initializers.RandomNormal(stddev=config.initializer_range)
        self.embedding = keras.layers.Embedding(
            config.vocab_size,
            getattr(config, "embedding_dim", 0) or config.hidden_dim,
            embeddings_initializer=initializer,
            name="token_embedding",
        )
        self.token_dropout = keras.layers.Dropout(
            getattr(config, "token_dropout", 0.0), noise_shape=(None, None, 1), name="token_dropout"
        )
        if not getattr(config, "tied_output", True):
            # A seed of its own: Keras draws from one initializer once.
            initializer = keras.initializers.RandomNormal(stddev=config.initializer_range)
            self.head = keras.layers.Dense(
                config.vocab_size, use_bias=False, kernel_initializer=initializer, name="head"
            )
            with keras.name_scope(name):
                self.head.build((None, None, config.hidden_dim))

    def call(self, token_ids: Tensor, training: bool = False, **features: Tensor) -> Tensor:
        """Logits float32 [B, T, V] for `token_ids` int32 [B, T]."""
        return self.logits(self.hidden_states(token_ids, training=training, **features))

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """What a head reads, float [B, T, D], for `token_ids` int32 [B, T] that are padded with 0 on the right."""
        raise NotImplementedError(f"{type(self).__name__} gives no hidden_states.")

    def embed(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim, or embedding_dim where the config has one], before positions.

        In training, whole tokens are zero with the probability `token_dropout`, and the others are scaled up (Iyyer et
        al., 2015, section 2.2).
        """
        embedded = self.token_dropout(self.embedding(token_ids), training=training)
        if getattr(self.config, "scale_embedding", False):
            embedded = embedded * self.config.hidden_dim**0.5
        return embedded

    def logits(self, hidden_states: Tensor) -> Tensor:
        """float32 [..., V] from hidden states [..., D]."""
        kernel = self.output_kernel()
        return ops.cast(product(hidden_states, ops.cast(kernel, hidden_states.dtype)), "float32")

    def output_kernel(self) -> Tensor:
        """The head's [D, V]. Tied: the embedding, transposed (Press and Wolf, 2017)."""
        return ops.transpose(self.embedding.embeddings) if self.head is None else self.head.kernel

    def output_layers(self) -> list[keras.layers.Layer]:
        """The layers that `logits` alone uses: without a meaning where another head reads the hidden states."""
        return [] if self.head is None else [self.head]

    def build_variables(self) -> None:
        """Makes every variable, by running on two tokens."""
        self(ops.zeros((1, 2), dtype="int32"))

    def num_parameters(self) -> int:
        """How many numbers training changes."""
        return int(sum(ops.size(variable) for variable in self.trainable_variables))
