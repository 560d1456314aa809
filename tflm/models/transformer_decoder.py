"""A decoder-only Transformer language model (Radford et al., 2018), with the choices made since."""

import dataclasses
from typing import Any

import keras
from keras import ops

from tflm.layers import (
    Attention,
    FeedForward,
    TransformerBlock,
    cache_mask,
    causal_mask,
    make_norm,
    sinusoidal_positions,
)
from tflm.layers.feed_forward import ACTIVATIONS
from tflm.layers.norms import NORMS
from tflm.models.language_model import LanguageModel, State

Tensor = Any

POSITIONS = ("rotary", "learned", "sinusoidal")


@dataclasses.dataclass(frozen=True)
class TransformerDecoderConfig:
    """Sizes and choices of a `TransformerDecoder`."""

    kind: str = "transformer_decoder"
    vocab_size: int = 0
    """Tokens in the vocabulary; 0 until the tokenizer is known."""
    num_layers: int = 4
    hidden_dim: int = 256
    num_heads: int = 4
    num_kv_heads: int = 0
    """Key/value heads, a divisor of num_heads; 0 for as many as query heads."""
    intermediate_dim: int = 0
    """Width inside the feed-forward network; 0 for 4 times hidden_dim, or 8/3 of it with swiglu."""
    max_length: int = 256
    """The longest text in tokens, prompt and answer together."""
    norm: str = "rms_norm"
    """layer_norm or rms_norm."""
    norm_position: str = "pre"
    """pre or post."""
    positions: str = "rotary"
    """rotary, learned or sinusoidal."""
    rotary_base: float = 10000.0
    activation: str = "swiglu"
    """gelu, swiglu or relu_squared."""
    qk_norm: bool = False
    """Normalise queries and keys (Henry et al., 2020): steadier at high learning rates."""
    use_bias: bool = False
    tied_output: bool = True
    """The output layer is the embedding, transposed."""
    dropout: float = 0.0
    initializer_range: float = 0.02
    """Standard deviation of the initial embedding, and of an untied head: the first loss is near ln V."""
    zero_residual: bool = False
    """Start each half of a block at zero; otherwise its output kernel is scaled by 1/sqrt(2 num_layers)."""
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
        return self.intermediate_dim or (gated if self.activation == "swiglu" else 4 * self.hidden_dim)


class TransformerDecoder(LanguageModel):
    """Embedding, blocks, a last norm, and the head."""

    def __init__(self, config: TransformerDecoderConfig, **kwargs: Any) -> None:
        super().__init__(name="transformer_decoder", **kwargs)
        self.config = config
        self.embedding = keras.layers.Embedding(
            config.vocab_size,
            config.hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            name="token_embedding",
        )
        if config.positions == "learned":
            self.position_embedding = keras.layers.Embedding(
                config.max_length,
                config.hidden_dim,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
                name="position_embedding",
            )
        self.embedding_dropout = keras.layers.Dropout(config.dropout, name="embedding_dropout")
        self.blocks = [_make_block(config, f"block_{index}") for index in range(config.num_layers)]
        pre_norm = config.norm_position == "pre"
        self.final_norm = make_norm(config.norm, config.norm_epsilon, "final_norm") if pre_norm else None
        if not config.tied_output:
            initializer = keras.initializers.RandomNormal(stddev=config.initializer_range)
            self.head = keras.layers.Dense(
                config.vocab_size, use_bias=False, kernel_initializer=initializer, name="head"
            )
            with keras.name_scope(self.name):
                self.head.build((None, None, config.hidden_dim))

    def hidden_states(self, token_ids: Tensor, training: bool = False) -> Tensor:
        """float [B, T, hidden_dim] from int32 [B, T]; see `LanguageModel`."""
        length = ops.shape(token_ids)[1]
        positions = ops.arange(length, dtype="int32")[None]
        x = self._embed(token_ids, positions, training)
        attention_mask = causal_mask(length)
        for block in self.blocks:
            x, _ = block(x, attention_mask, positions, training=training)
        return x if self.final_norm is None else self.final_norm(x)

    def initial_state(
        self, batch_size: Tensor, max_length: Tensor, num_padding: Tensor = None, context: Tensor = None
    ) -> State:
        """Empty caches: `keys` and `values`, each num_layers tensors float [B, max_length, num_kv_heads,
        head_dim]."""
        del context
        config = self.config
        num_kv_heads = config.num_kv_heads or config.num_heads
        empty = ops.zeros((batch_size, max_length, num_kv_heads, config.head_dim), dtype=self.compute_dtype)
        caches = (empty,) * config.num_layers
        return self.new_state(batch_size, num_padding, {"keys": caches, "values": caches})

    def step_hidden_states(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Writes K positions into the caches at `cache_index` and attends over them."""
        index, num_padding = state["cache_index"], state["num_padding"]
        count = ops.shape(token_ids)[1]
        places = (index + ops.arange(count, dtype="int32"))[None] - num_padding[:, None]
        # Padding stands before 0; a row that has stopped may be stepped past the end with the others.
        positions = ops.clip(places, 0, self.config.max_length - 1)
        attention_mask = cache_mask(ops.shape(state["keys"][0])[1], count, index, num_padding)
        x = self._embed(token_ids, positions, training=False)
        keys, values = [], []
        for block, *cache in zip(self.blocks, state["keys"], state["values"], strict=True):
            x, (key, value) = block(x, attention_mask, positions, cache=tuple(cache), cache_index=index)
            keys.append(key)
            values.append(value)
        if self.final_norm is not None:
            x = self.final_norm(x)
        caches = {"keys": tuple(keys), "values": tuple(values)}
        return x, {**state, **caches, "cache_index": index + count}

    def extend_state(self, state: State, num_positions: Tensor) -> State:
        """Caches with `num_positions` more places."""
        room = [[0, 0], [0, num_positions], [0, 0], [0, 0]]
        caches = {name: tuple(ops.pad(cache, room) for cache in state[name]) for name in ("keys", "values")}
        return {**state, **caches}

    def _embed(self, token_ids: Tensor, positions: Tensor, training: bool) -> Tensor:
        x = self.embedding(token_ids)
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":
            x = x + ops.cast(sinusoidal_positions(positions, self.config.hidden_dim), x.dtype)
        return self.embedding_dropout(x, training=training)


def _make_block(config: TransformerDecoderConfig, name: str) -> TransformerBlock:
    residual_scale = 0.0 if config.zero_residual else (2 * config.num_layers) ** -0.5
    attention = Attention(
        config.num_heads,
        config.num_kv_heads or config.num_heads,
        config.head_dim,
        rotary=config.positions == "rotary",
        rotary_base=config.rotary_base,
        qk_norm=config.qk_norm,
        use_bias=config.use_bias,
        initializer=_fan_in(1.0),
        output_initializer=_fan_in(residual_scale),
        name="attention",
    )
    feed_forward = FeedForward(
        config.feed_forward_dim,
        config.activation,
        use_bias=config.use_bias,
        initializer=_fan_in(1.0),
        output_initializer=_fan_in(residual_scale),
        name="feed_forward",
    )
    return TransformerBlock(
        attention,
        feed_forward,
        lambda norm_name: make_norm(config.norm, config.norm_epsilon, norm_name),
        pre_norm=config.norm_position == "pre",
        dropout=config.dropout,
        name=name,
    )


def _fan_in(scale: float) -> Any:
    """Normal with standard deviation scale / sqrt(fan in): the output has the variance of the input."""
    if scale == 0.0:
        return "zeros"
    return keras.initializers.VarianceScaling(scale**2, "fan_in", "untruncated_normal")


def _require_one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}; got {value!r}.")
