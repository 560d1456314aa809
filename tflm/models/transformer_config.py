"""Hyperparameters shared by all Transformer families."""

import dataclasses

from tflm.config import option
from tflm.layers.feed_forward import ACTIVATIONS, GATED
from tflm.layers.norms import NORMS
from tflm.layers.positions import SCALINGS, RotaryScaling
from tflm.layers.relative_positions import SCALE
from tflm.models.text_model import ModelConfig

POSITIONS = ("rotary", "learned", "sinusoidal", "relative")


@dataclasses.dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """Hyperparameters of a Transformer stack. Each family adds its `kind` and its own fields."""

    num_layers: int = 4
    """Number of blocks."""
    hidden_dim: int = 256
    """Width of the hidden states; a multiple of num_heads, unless head_width is given."""
    num_heads: int = 4
    """Number of query heads."""
    num_kv_heads: int = 0
    """Number of key/value heads, a divisor of num_heads; 0 for num_heads."""
    intermediate_dim: int = 0
    """Width of the inner layer of the feed-forward network; 0 for 4 hidden_dim, or 8/3 hidden_dim if gated."""
    max_length: int = 256
    """Maximum sequence length in tokens: prompt and output together, or source and target each with an encoder."""
    norm: str = "rms_norm"
    """layer_norm or rms_norm."""
    norm_position: str = "pre"
    """pre or post: normalization before each sublayer, or after the residual connection; both: before each sublayer
    and of its output, before the residual connection."""
    positions: str = "rotary"
    """rotary, learned, sinusoidal, or relative (the relative position bias of T5)."""
    rotary_base: float = 10000.0
    """Base of the wavelengths of rotary positions."""
    activation: str = "swiglu"
    """gelu (tanh approximation), gelu_exact (error function), relu, relu_squared, or gated: swiglu, geglu."""
    qk_norm: bool = False
    """Normalize queries and keys (Henry et al., 2020): more stable at high learning rates."""
    use_bias: bool = False
    """Biases in the projections of attention and feed-forward network."""
    tied_output: bool = True
    """Tie the output layer to the embedding (Press and Wolf, 2017)."""
    dropout: float = 0.0
    """Dropout rate of the embedding and of the output of each sublayer."""
    attention_dropout: float = 0.0
    """Dropout rate of the attention weights."""
    token_dropout: float = 0.0
    """Probability that the embedding of a token is zeroed in training (word dropout; Iyyer et al., 2015)."""
    initializer_range: float = 0.02
    """Standard deviation of the initial embedding and of an untied head; the initial loss is close to ln V."""
    scale_embedding: bool = False
    """Multiply the embedding by sqrt(hidden_dim) (Vaswani et al., 2017, section 3.4)."""
    zero_residual: bool = False
    """Initialize the output kernel of each sublayer to zero instead of scaling it by 1/sqrt(N), where N is the number
    of sublayers in the stack."""
    norm_epsilon: float = 1e-5
    """Epsilon of the normalization layers."""
    head_width: int = option(0)
    """Width of one head; 0 for hidden_dim / num_heads."""
    qkv_bias: bool = option(False)
    """Biases in the projections of queries, keys and values alone, without use_bias."""
    qk_norm_epsilon: float = option(1e-6)
    """Epsilon of the norms of queries and keys."""
    attention_scale: float = option(0.0)
    """Factor of the attention scores; 0 for 1/sqrt(width of a head)."""
    attention_cap: float = option(0.0)
    """Soft cap of the attention scores, cap tanh(score / cap); 0 for none."""
    logit_cap: float = option(0.0)
    """Soft cap of the logits; 0 for none."""
    output_scale: float = option(1.0)
    """Factor of the hidden states before the output layer; T5 with a tied output has 1/sqrt(hidden_dim)."""
    embedding_norm: bool = option(False)
    """Normalize the sum of token, position and segment embeddings, as in BERT."""
    rotary_scaling: str = option("")
    """How rotary positions are scaled for texts longer than those of pretraining: linear, llama3, yarn; empty for not
    at all."""
    rotary_factor: float = option(1.0)
    """With rotary_scaling: how many times longer the texts may be."""
    rotary_original_length: int = option(0)
    """With llama3 and yarn: the length of pretraining in tokens."""
    rotary_low_turns: float = option(1.0)
    """With llama3 and yarn: pairs of features that turn less often in the original length are slowed down fully."""
    rotary_high_turns: float = option(4.0)
    """With llama3 and yarn: pairs of features that turn more often stay as they are."""
    rotary_magnitude: float = option(1.0)
    """With yarn: factor of cosines and sines."""
    sliding_window: int = option(0)
    """Each position attends to this many positions, its own and those before it; 0 for all."""
    full_attention_layers: tuple[int, ...] = option(())
    """Layers, counted from 0, that sliding_window does not limit."""
    local_rotary_base: float = option(0.0)
    """rotary_base of the layers that sliding_window limits, which then have no rotary_scaling; 0 for the same."""
    relative_buckets: int = option(32)
    """Buckets of relative positions."""
    relative_distance: int = option(128)
    """Greater distances share the last bucket of relative positions."""
    relative_scale: float = option(SCALE)
    """Factor of the relative position bias; 1 in T5."""

    recompute: bool = option(False)
    """Compute each block again in the backward pass, and store its input alone: less memory for about a third more
    compute (Chen et al., 2016). With dropout it needs training.dropout_masks=per_example."""

    def __post_init__(self) -> None:
        for field in ("num_layers", "hidden_dim", "num_heads", "max_length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is at least 1; got {getattr(self, field)}.")
        _require_one_of("norm", self.norm, NORMS)
        _require_one_of("norm_position", self.norm_position, ("pre", "post", "both"))
        _require_one_of("positions", self.positions, POSITIONS)
        _require_one_of("activation", self.activation, ACTIVATIONS)
        if self.hidden_dim % self.num_heads and not self.head_width:
            raise ValueError(f"num_heads divides hidden_dim; got {self.num_heads} and {self.hidden_dim}.")
        if self.num_kv_heads < 0 or (self.num_kv_heads and self.num_heads % self.num_kv_heads):
            raise ValueError(f"num_kv_heads divides num_heads; got {self.num_kv_heads} and {self.num_heads}.")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim; got {self.head_dim}.")
        if self.positions == "sinusoidal" and self.hidden_dim % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_dim; got {self.hidden_dim}.")
        if self.rotary_scaling:
            self._check_rotary_scaling()

    def _check_rotary_scaling(self) -> None:
        _require_one_of("rotary_scaling", self.rotary_scaling, SCALINGS)
        if self.rotary_factor <= 0:
            raise ValueError(f"rotary_factor is greater than 0; got {self.rotary_factor}.")
        if self.rotary_scaling != "linear" and self.rotary_original_length < 1:
            raise ValueError(
                f"rotary_scaling={self.rotary_scaling} needs rotary_original_length, the length of pretraining; got "
                f"{self.rotary_original_length}."
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.head_width or self.hidden_dim // self.num_heads

    @property
    def scaling(self) -> RotaryScaling:
        """The fields of `rotary_scaling`."""
        return RotaryScaling(
            self.rotary_scaling,
            self.rotary_factor,
            self.rotary_original_length,
            self.rotary_low_turns,
            self.rotary_high_turns,
            self.rotary_magnitude,
        )

    @property
    def feed_forward_dim(self) -> int:
        """`intermediate_dim`, or its default: 4 hidden_dim, or if gated about 8/3 hidden_dim, rounded up to a multiple
        of 8, for the same number of parameters."""
        gated = -(-8 * self.hidden_dim // 3 // 8) * 8
        return self.intermediate_dim or (gated if self.activation in GATED else 4 * self.hidden_dim)


def _require_one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}; got {value!r}.")
