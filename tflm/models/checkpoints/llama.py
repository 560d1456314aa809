"""Llama and its relatives: Llama 2 and 3, TinyLlama, SmolLM2, Mistral, Qwen2, Qwen2.5, Qwen3, DeepSeek-R1-Distill."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.family import Family, FamilyTensors, register_family
from tflm.models.checkpoints.rotary import rotary_fields, rotary_keys
from tflm.models.checkpoints.weight_map import SAME, TRANSPOSED, Entry, Transform, embedding, linear, rms_norm
from tflm.models.transformer_decoder import TransformerDecoderConfig


class LlamaLike(Family):
    """Decoders whose tensors are named as those of Llama."""

    config_class = TransformerDecoderConfig
    fields = {
        "num_layers": "num_hidden_layers",
        "hidden_dim": "hidden_size",
        "num_heads": "num_attention_heads",
        "intermediate_dim": "intermediate_size",
        "max_length": "max_position_embeddings",
        "norm_epsilon": "rms_norm_eps",
        "initializer_range": "initializer_range",
        "attention_dropout": "attention_dropout",
    }
    defaults = {"initializer_range": 0.02, "attention_dropout": 0.0}
    constants = {"norm": "rms_norm", "positions": "rotary"}
    prefix = "model."
    ignored = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq")
    embeddings = "embed_tokens.weight"
    norm_transform: Transform = SAME
    norms: Mapping[str, str] = {
        "attention_norm": "input_layernorm",
        "feed_forward_norm": "post_attention_layernorm",
    }
    """Our norms of a block to theirs."""

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from embedding("token_embedding", "embed_tokens")
        for index in range(config.num_layers):
            yield from self._block(config, f"decoder/block_{index}", f"layers.{index}")
        yield from rms_norm("decoder/final_norm", "norm", self.norm_transform)
        if not config.tied_output:
            yield Entry.of("head/kernel", "lm_head.weight", TRANSPOSED)

    def _block(self, config: Any, ours: str, theirs: str) -> Iterator[Entry]:
        for own, name in self.norms.items():
            yield from rms_norm(f"{ours}/{own}", f"{theirs}.{name}", self.norm_transform)
        attention, self_attention = f"{ours}/attention", f"{theirs}.self_attn"
        for part in ("query", "key", "value"):
            yield from linear(f"{attention}/{part}", f"{self_attention}.{part[0]}_proj", config.qkv_bias)
        yield from linear(f"{attention}/output", f"{self_attention}.o_proj", False)
        if config.qk_norm:
            yield from rms_norm(f"{attention}/query_norm", f"{self_attention}.q_norm", self.norm_transform)
            yield from rms_norm(f"{attention}/key_norm", f"{self_attention}.k_norm", self.norm_transform)
        for part, name in (("gate", "gate_proj"), ("inner", "up_proj"), ("outer", "down_proj")):
            yield from linear(f"{ours}/feed_forward/{part}", f"{theirs}.mlp.{name}", False)

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Heads, and whether the output is tied."""
        num_heads, num_kv_heads = theirs["num_attention_heads"], theirs.get("num_key_value_heads", 0)
        width = theirs.get("head_dim", 0)
        if width * num_heads == theirs["hidden_size"]:
            width = 0
        return {
            "num_kv_heads": 0 if num_kv_heads == num_heads else num_kv_heads,
            "head_width": width,
            "tied_output": not tensors.is_own("lm_head.weight", self.embeddings),
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {
            "num_key_value_heads": config.num_kv_heads or config.num_heads,
            "head_dim": config.head_dim,
            "intermediate_size": config.feed_forward_dim,
            "tie_word_embeddings": config.tied_output,
        }


def whole_layers(theirs: Mapping[str, Any]) -> tuple[int, ...]:
    """The layers that `layer_types` says attend to the whole text."""
    return tuple(index for index, kind in enumerate(theirs["layer_types"]) if kind == "full_attention")


@register_family("llama")
@register_family("mistral")
@register_family("qwen2")
@register_family("qwen3")
class Llama(LlamaLike):
    """Llama (Touvron et al., 2023), Mistral (Jiang et al., 2023), Qwen2 and Qwen3 (Qwen Team, 2024 and 2025)."""

    activations = {"silu": "swiglu", "swish": "swiglu"}

    @property
    def accepted(self) -> Mapping[str, tuple[Any, ...]]:  # type: ignore[override]
        """Llama and Qwen3 may have biases that no released model has; Qwen2 has no key for its own."""
        return {} if self.model_type == "qwen2" else {"attention_bias": (False,), "mlp_bias": (False,)}

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """LlamaForCausalLM and so on."""
        return f"{self.model_type.capitalize()}ForCausalLM"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """See `LlamaLike`; also rotary positions, biases, norms of queries and keys, sliding window."""
        fields = super().extra_fields(theirs, tensors) | rotary_fields(theirs)
        if self.model_type == "qwen2":
            fields["qkv_bias"] = True
        if self.model_type == "qwen3":
            fields |= {"qk_norm": True, "qk_norm_epsilon": theirs["rms_norm_eps"]}
        window, num_layers = theirs.get("sliding_window", 0), theirs["num_hidden_layers"]
        whole: tuple[int, ...] = ()
        if self.model_type != "mistral":
            first = theirs.get("max_window_layers", 28) if theirs.get("use_sliding_window") else num_layers
            whole = whole_layers(theirs) if "layer_types" in theirs else tuple(range(min(first, num_layers)))
        if not window or self.model_type == "llama" or len(whole) == num_layers:
            return fields
        return fields | {"sliding_window": window, "full_attention_layers": whole}

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        keys = super().extra_keys(config) | rotary_keys(config)
        if self.model_type == "mistral":
            keys["sliding_window"] = config.sliding_window or None
        if self.model_type in ("qwen2", "qwen3"):
            num_whole = len(config.full_attention_layers) if config.sliding_window else config.num_layers
            keys |= {
                "use_sliding_window": bool(config.sliding_window),
                "sliding_window": config.sliding_window or None,
                "max_window_layers": num_whole,
            }
        return keys
