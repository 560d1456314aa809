"""Skip-gram: two vectors for each word, one as itself and one as a neighbour (Mikolov et al., 2013)."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.models.text_model import TextModel

Tensor = Any


@dataclasses.dataclass(frozen=True)
class SkipGramConfig:
    """Sizes of a `SkipGram`."""

    kind: str = "skip_gram"
    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    hidden_dim: int = 100
    """Width of a vector."""
    max_length: int = 256
    """The longest text, in words, whose mean vector is asked for; training does not read it."""
    initializer_range: float = 0.05
    """Standard deviation of the initial vectors. Those of the neighbours begin at 0, as in word2vec."""

    def __post_init__(self) -> None:
        for field in ("hidden_dim", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")


class SkipGram(TextModel):
    """Says of a word which words stand near it ("Distributed Representations of Words and Phrases and their
    Compositionality", section 2). The word vectors are `embedding.embeddings`, [V, D].

    Its hidden states are the vectors of the words, so that a head can stand on it as on any other body.
    """

    def __init__(self, config: SkipGramConfig, **kwargs: Any) -> None:
        super().__init__(config, name="skip_gram", **kwargs)
        self.context_embedding = keras.layers.Embedding(
            config.vocab_size, config.hidden_dim, embeddings_initializer="zeros", name="context_embedding"
        )
        with keras.name_scope("skip_gram"):
            self.context_embedding.build()

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T]; a word's does not depend on the others."""
        del training
        return self.embed(token_ids)

    def output_kernel(self) -> Tensor:
        """The neighbours' vectors, [D, V]: the softmax over them is equation 2 of the paper."""
        return ops.transpose(self.context_embedding.embeddings)

    def output_layers(self) -> list[keras.layers.Layer]:
        """The neighbours' vectors: nothing else reads them."""
        return [self.context_embedding]

    def scores(self, token_ids: Tensor, context_ids: Tensor) -> Tensor:
        """How well words go together, before the sigmoid (equation 4): products of a vector and a neighbour's.

        Args:
            token_ids: int32 [B].
            context_ids: int32 [B, N].
        Returns:
            float32 [B, N].
        """
        words, contexts = self.embed(token_ids), self.context_embedding(context_ids)
        return ops.cast(ops.einsum("bd,bnd->bn", words, contexts), "float32")
