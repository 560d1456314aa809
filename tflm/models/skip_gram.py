"""Skip-gram word embeddings (Mikolov et al., 2013): a word vector and a context vector for each token."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers.linear import TokenEmbedding
from tflm.models.text_model import ModelConfig, TextModel, register_model

Tensor = Any


@dataclasses.dataclass(frozen=True)
class SkipGramConfig(ModelConfig):
    """Hyperparameters of a `SkipGram`."""

    kind: str = "skip_gram"
    hidden_dim: int = 100
    """Width of the vectors."""
    max_length: int = 256
    """Unused: text vectors average over all words, and training uses context windows."""
    initializer_range: float = 0.05
    """Standard deviation of the initial word vectors. Context vectors are initialized to 0, as in word2vec."""

    def __post_init__(self) -> None:
        for field in ("hidden_dim", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")


@register_model("skip_gram")
class SkipGram(TextModel):
    """Predicts the context words of a word ("Distributed Representations of Words and Phrases and their
    Compositionality", section 2). The word vectors are `embedding.embeddings`, [V, D].

    Its hidden states are the word vectors, so that it can be the body of a `HeadModel`.
    """

    config_class = SkipGramConfig
    architecture = "skip-gram model"
    output_layer_names = ("context_embedding",)

    def __init__(self, config: SkipGramConfig, **kwargs: Any) -> None:
        super().__init__(config, name="skip_gram", **kwargs)
        self.context_embedding = TokenEmbedding(
            config.vocab_size, config.hidden_dim, embeddings_initializer="zeros", name="context_embedding"
        )
        with keras.name_scope("skip_gram"):
            self.context_embedding.build()

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """Word vectors float [B, T, hidden_dim] of int32 [B, T], independent of the other words."""
        del training
        return self.embed(token_ids)

    def output_rows(self) -> Tensor:
        """The context vectors [V, D]; the softmax over their logits is equation 2 of the paper."""
        return self.context_embedding.embeddings

    def output_layers(self) -> list[keras.layers.Layer]:
        """The context vectors, which only `logits` and `scores` use."""
        return [self.context_embedding]

    def scores(self, token_ids: Tensor, context_ids: Tensor) -> Tensor:
        """Logits of word-context pairs for negative sampling (equation 4): dot products of word and context vectors.

        Args:
            token_ids: int32 [B], words.
            context_ids: int32 [B, N], context words or negative samples.
        Returns:
            float32 [B, N].
        """
        words, contexts = self.embed(token_ids), self.context_embedding(context_ids)
        return ops.cast(ops.einsum("bd,bnd->bn", words, contexts), "float32")
