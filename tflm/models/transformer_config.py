"""Sizes and choices that all Transformers share."""

import dataclasses

from tflm.layers.feed_forward import ACTIVATIONS, GATED
from tflm.layers.norms import NORMS

POSITIONS = ("rotary", "learned", "sinusoidal", "relative")


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """What a stack of blocks is made of. Each family adds its own `kind`, and what it alone has."""

    kind: str = ""
    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    num_layers: int = 4
    hidden_dim: int = 256
    num_heads: int = 4
    num_kv_heads: int = 0
    """Key/value heads, a divisor of num_heads; 0 for as many as query heads."""
    intermediate_dim: int = 0
    """Width inside the feed-forward network; 0 for 4 times hidden_dim, or 8/3 of it with a gate."""
    max_length: int = 256
    """The longest text in tokens: prompt and answer together; with an encoder, each of source and target."""
    norm: str = "rms_norm"
    """layer_norm or rms_norm."""
    norm_position: str = "pre"
    """pre or post."""
    positions: str = "rotary"
    """rotary, learned, sinusoidal or relative (T5's bias on the scores)."""
    rotary_base: float = 10000.0
    activation: str = "swiglu"
    """gelu, relu, relu_squared, or with a gate: swiglu, geglu."""
    qk_norm: bool = False
    """Normalise queries and keys (Henry et al., 2020): steadier at high learning rates."""
    use_bias: bool = False
    tied_output: bool = True
    """The output layer is the embedding, transposed."""
    dropout: float = 0.0
    """On the embedding and on the output of each part of a block."""
    attention_dropout: float = 0.0
    """On the attention weights."""
    token_dropout: float = 0.0
    """The probability that training does not see a token: its embedding is zero (Iyyer et al., 2015)."""
    initializer_range: float = 0.02
    """Standard deviation of the initial embedding, and of an untied head: the first loss is near ln V."""
    scale_embedding: bool = False
    """Multiply the embedding by the square root of hidden_dim (Vaswani et al., 2017, section 3.4)."""
    zero_residual: bool = False
    """Start each part of a block at zero; otherwise its output kernel is scaled by 1/sqrt(2 num_layers)."""
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_dim", "num_heads", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        _require_one_of("norm", self.norm, NORMS)
        _require_one_of("norm_position", self.norm_position, ("pre", "post"))
        _require_one_of("positions", self.positions, POSITIONS)
        _require_one_of("activation", self.activation, ACTIVATIONS)
        if self.hidden_dim % self.num_heads:
            raise ValueError(f"num_heads divides hidden_dim; got {self.num_heads} and {self.hidden_dim}.")
        if self.num_kv_heads < 0 or (self.num_kv_heads and self.num_heads % self.num_kv_heads):
            raise ValueError(f"num_kv_heads divides num_heads; got {self.num_kv_heads} and {self.num_heads}.")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim; got {self.head_dim}.")
        if self.positions == "sinusoidal" and self.hidden_dim % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_dim; got {self.hidden_dim}.")

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_dim // self.num_heads

    @property
    def feed_forward_dim(self) -> int:
        """`intermediate_dim`, or the usual width: with a gate, as many parameters as without."""
        gated = -(-8 * self.hidden_dim // 3 // 8) * 8
        return self.intermediate_dim or (gated if self.activation in GATED else 4 * self.hidden_dim)


def _require_one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}; got {value!r}.")
