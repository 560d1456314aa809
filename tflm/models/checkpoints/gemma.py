"""Gemma (Gemma Team, 2024), Gemma 2 (2024) and the text models of Gemma 3 (2025)."""

from collections.abc import Mapping
from typing import Any

from tflm.models.checkpoints.family import FamilyTensors, register_family
from tflm.models.checkpoints.llama import LlamaLike, whole_layers
from tflm.models.checkpoints.rotary import rotary_fields, rotary_keys
from tflm.models.checkpoints.weight_map import ONE_LESS

_ACTIVATION = "gelu_pytorch_tanh"


@register_family("gemma")
class Gemma(LlamaLike):
    """Embeddings times the root of their width, scales of norms minus 1, a gate with the tanh form of GELU."""

    defaults = {
        **LlamaLike.defaults,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 8192,
    }
    constants = {**LlamaLike.constants, "scale_embedding": True, "activation": "geglu"}
    accepted = {
        "attention_bias": (False,),
        "use_bidirectional_attention": (False,),
        "hidden_activation": (_ACTIVATION,),
        "hidden_act": (_ACTIVATION, "gelu"),
    }
    norm_transform = ONE_LESS
    default_base = 10000.0

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """See `Family`."""
        return {"gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}.get(
            self.model_type, "GemmaForCausalLM"
        )

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """See `LlamaLike`; also rotary positions."""
        return super().extra_fields(theirs, tensors) | rotary_fields(theirs, self.default_base)

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return super().extra_keys(config) | rotary_keys(config)


@register_family("gemma2")
class Gemma2(Gemma):
    """Norms before and after each part, soft caps, a sliding window in every second layer."""

    defaults = {**Gemma.defaults, "query_pre_attn_scalar": 256, "sliding_window": 4096}
    constants = {**Gemma.constants, "norm_position": "both"}
    norms = {
        "attention_norm": "input_layernorm",
        "attention_output_norm": "post_attention_layernorm",
        "feed_forward_norm": "pre_feedforward_layernorm",
        "feed_forward_output_norm": "post_feedforward_layernorm",
    }
    may_be_null = ("attn_logit_softcapping", "final_logit_softcapping")
    default_pattern = 2
    default_caps = (50.0, 30.0)

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """See `Gemma`; also windows, caps and the scale of scores."""
        pattern = theirs.get("sliding_window_pattern", self.default_pattern)
        whole = (
            whole_layers(theirs)
            if "layer_types" in theirs
            else tuple(range(pattern - 1, theirs["num_hidden_layers"], pattern))
        )
        attention_cap, logit_cap = self.default_caps
        has_window = len(whole) < theirs["num_hidden_layers"]
        scale = theirs["query_pre_attn_scalar"] ** -0.5
        is_default = theirs["query_pre_attn_scalar"] == theirs["head_dim"]
        return super().extra_fields(theirs, tensors) | {
            "attention_scale": 0.0 if is_default else scale,
            "attention_cap": float(theirs.get("attn_logit_softcapping", attention_cap) or 0.0),
            "logit_cap": float(theirs.get("final_logit_softcapping", logit_cap) or 0.0),
            "sliding_window": theirs["sliding_window"] if has_window else 0,
            "full_attention_layers": whole if has_window else (),
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        scalar = config.attention_scale**-2 if config.attention_scale else float(config.head_dim)
        kinds = [
            "full_attention"
            if not config.sliding_window or index in config.full_attention_layers
            else "sliding_attention"
            for index in range(config.num_layers)
        ]
        return super().extra_keys(config) | {
            "query_pre_attn_scalar": round(scalar),
            "attn_logit_softcapping": config.attention_cap or None,
            "final_logit_softcapping": config.logit_cap or None,
            "sliding_window": config.sliding_window or config.max_length,
            "layer_types": kinds,
        }


@register_family("gemma3")
@register_family("gemma3_text")
class Gemma3(Gemma2):
    """Norms of queries and keys, a sliding window in five of six layers with a rotary base of its own. Of a model that
    also sees images, the text model."""

    defaults = {
        **Gemma2.defaults,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
    }
    constants = {**Gemma2.constants, "qk_norm": True}
    renamed = ((r"^language_model\.", ""), (r"^model\.language_model\.", "model."))
    dropped = (r"vision_tower\..*", r"multi_modal_projector\..*")
    default_pattern = 6
    default_caps = (0.0, 0.0)
    default_base = 1000000.0

    def __init__(self, model_type: str) -> None:
        super().__init__("gemma3_text")
        del model_type

    def text_config(self, theirs: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Family`."""
        return theirs.get("text_config", theirs)

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """See `Gemma2`; also the rotary base of layers with a window. Version 5 of transformers has rotary positions by
        kind of layer."""
        local = theirs.get("rope_local_base_freq", 10000.0)
        by_kind = theirs.get("rope_parameters", {})
        if "full_attention" in by_kind:
            local = by_kind.get("sliding_attention", {}).get("rope_theta", local)
            theirs = {
                **theirs,
                "rope_parameters": {"rope_theta": self.default_base, **by_kind["full_attention"]},
            }
        fields = super().extra_fields(theirs, tensors)
        fields["qk_norm_epsilon"] = theirs["rms_norm_eps"]
        return fields | ({"local_rotary_base": float(local)} if fields["sliding_window"] else {})

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return super().extra_keys(config) | {
            "rope_local_base_freq": config.local_rotary_base or config.rotary_base
        }
