"""Sizes and choices that all LSTM families share."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class LSTMConfig:
    """Sizes of an `LSTMLanguageModel`; the other families add to them."""

    kind: str = "lstm"
    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    num_layers: int = 2
    hidden_dim: int = 256
    """Width of the hidden and cell vectors."""
    embedding_dim: int = 0
    """Width of the embedding, such as that of word vectors trained elsewhere; 0 for hidden_dim."""
    max_length: int = 256
    """The longest text in tokens that training and generation use; the model itself has no limit."""
    tied_output: bool = True
    """The output layer is the embedding, transposed."""
    dropout: float = 0.0
    """On the embedding and on the output of each layer, not from step to step (Zaremba et al., 2014)."""
    token_dropout: float = 0.0
    """The probability that training does not see a token: its embedding is zero (Iyyer et al., 2015)."""
    initializer_range: float = 0.05
    """Standard deviation of the initial embedding, and of an untied head: the first loss is near ln V."""

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_dim", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        if self.embedding_dim < 0:
            raise ValueError(f"embedding_dim is 0, for hidden_dim, or more; got {self.embedding_dim}.")
        if self.tied_output and self.embedding_dim not in (0, self.hidden_dim):
            raise ValueError(
                f"embedding_dim={self.embedding_dim} is not hidden_dim={self.hidden_dim}, so the output cannot be "
                "the embedding, transposed. Set tied_output to false, or embedding_dim to 0."
            )


def require_even_width(config: LSTMConfig) -> None:
    """Of a bidirectional layer each direction has half the width.

    Raises:
        ValueError: hidden_dim is odd.
    """
    if config.hidden_dim % 2:
        raise ValueError(f"hidden_dim is even, half for each direction; got {config.hidden_dim}.")
