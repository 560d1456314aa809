"""Hyperparameters shared by all LSTM families."""

import dataclasses

from tflm.models.ngram_input import NgramInputConfig
from tflm.models.text_model import ModelConfig


@dataclasses.dataclass(frozen=True)
class LSTMConfig(NgramInputConfig, ModelConfig):
    """Hyperparameters of an `LSTMLanguageModel`; the other LSTM families extend them."""

    kind: str = "lstm"
    num_layers: int = 2
    """Number of LSTM layers."""
    hidden_dim: int = 256
    """Width of the hidden and cell states."""
    embedding_dim: int = 0
    """Width of the embedding, such as that of pretrained word vectors; 0 for hidden_dim."""
    max_length: int = 256
    """Maximum sequence length in tokens for training and generation; the model itself has no limit."""
    tied_output: bool = True
    """Tie the output layer to the embedding (Press and Wolf, 2017)."""
    dropout: float = 0.0
    """Dropout rate of the embedding and of the output of each layer, not of recurrent connections (Zaremba et al.,
    2014)."""
    token_dropout: float = 0.0
    """Probability that the embedding of a token is zeroed in training (word dropout; Iyyer et al., 2015)."""
    initializer_range: float = 0.05
    """Standard deviation of the initial embedding and of an untied head; the initial loss is close to ln V."""

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_dim", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        if self.embedding_dim < 0:
            raise ValueError(f"embedding_dim is 0, for hidden_dim, or more; got {self.embedding_dim}.")
        self.check_ngrams()
        if self.tied_output and self.embedding_dim not in (0, self.hidden_dim):
            raise ValueError(
                f"tied_output needs embedding_dim equal to hidden_dim={self.hidden_dim}; "
                f"got embedding_dim={self.embedding_dim}. Set tied_output to false, or embedding_dim to 0."
            )


def check_bidirectional(config: LSTMConfig) -> None:
    """Checks that hidden_dim splits into the two directions of a bidirectional layer, and that no n-grams are asked
    for.

    Raises:
        ValueError: hidden_dim is odd, or ngram_contexts is set.
    """
    if config.ngram_contexts:
        raise ValueError(
            f"ngram_contexts are for decoders; a model of the kind {config.kind} has no counted n-grams. Leave "
            "ngram_contexts empty."
        )
    if config.hidden_dim % 2:
        raise ValueError(f"hidden_dim is even, half for each direction; got {config.hidden_dim}.")
