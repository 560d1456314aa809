"""T5 (Raffel et al., 2020), T5 1.1 and Flan-T5 with a gate and an untied output, and mT5 (Xue et al., 2021)."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.family import Family, FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import TRANSPOSED, Entry, embedding, linear, rms_norm
from tflm.models.transformer_encoder_decoder import TransformerEncoderDecoderConfig

_FEED_FORWARDS = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu", "gelu_new": "gelu"}


@register_family("t5")
@register_family("mt5")
class T5(Family):
    """Scores are not divided by the root of the width of a head; each stack has one relative position bias."""

    config_class = TransformerEncoderDecoderConfig
    fields = {
        "num_layers": "num_layers",
        "hidden_dim": "d_model",
        "num_heads": "num_heads",
        "intermediate_dim": "d_ff",
        "max_length": "n_positions",
        "norm_epsilon": "layer_norm_epsilon",
        "dropout": "dropout_rate",
        "attention_dropout": "dropout_rate",
        "relative_buckets": "relative_attention_num_buckets",
        "relative_distance": "relative_attention_max_distance",
    }
    defaults = {
        "n_positions": 512,
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.1,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "relu",
    }
    constants = {
        "norm": "rms_norm",
        "positions": "relative",
        "relative_scale": 1.0,
        "attention_scale": 1.0,
    }
    activations = _FEED_FORWARDS
    activation_key = "feed_forward_proj"
    ignored = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)
    embeddings = "shared.weight"

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """See `Family`."""
        return "T5ForConditionalGeneration" if self.model_type == "t5" else "MT5ForConditionalGeneration"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """The output is scaled where the config of version 4 of transformers says that it is tied; whether it is tied,
        the tensors say."""
        for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
            tensors.is_own(name, self.embeddings)
        is_scaled = theirs.get("scale_decoder_outputs", theirs.get("tie_word_embeddings", True))
        width = theirs.get("d_kv", 64)
        num_layers = theirs.get("num_decoder_layers", theirs["num_layers"])
        return {
            "num_decoder_layers": 0 if num_layers == theirs["num_layers"] else num_layers,
            "head_width": 0 if width * theirs["num_heads"] == theirs["d_model"] else width,
            "tied_output": not tensors.is_own("lm_head.weight", self.embeddings),
            "output_scale": theirs["d_model"] ** -0.5 if is_scaled and self.model_type == "t5" else 1.0,
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        is_scaled = config.output_scale != 1.0
        return {
            "num_decoder_layers": config.num_decoder_layers or config.num_layers,
            "d_kv": config.head_dim,
            "tie_word_embeddings": is_scaled,
            "scale_decoder_outputs": is_scaled,
            "is_encoder_decoder": True,
            "pad_token_id": config.pad_id,
            "decoder_start_token_id": config.pad_id,
        }

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from embedding("token_embedding", "shared")
        sizes = {"encoder": config.num_layers, "decoder": config.num_decoder_layers or config.num_layers}
        for stack, num_layers in sizes.items():
            bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias"
            yield from embedding(f"{stack}/position_bias", bias)
            for index in range(num_layers):
                place = (f"{stack}/block_{index}", f"{stack}.block.{index}.layer")
                yield from _block(*place, config.activation in ("geglu", "swiglu"), stack == "decoder")
            yield from rms_norm(f"{stack}/final_norm", f"{stack}.final_layer_norm")
        if not config.tied_output:
            yield Entry.of("head/kernel", "lm_head.weight", TRANSPOSED)


def _block(ours: str, theirs: str, is_gated: bool, is_decoder: bool) -> Iterator[Entry]:
    attentions = {"attention": "SelfAttention"} | (
        {"cross_attention": "EncDecAttention"} if is_decoder else {}
    )
    for index, (own, name) in enumerate(attentions.items()):
        yield from rms_norm(f"{ours}/{own}_norm", f"{theirs}.{index}.layer_norm")
        for part in ("query", "key", "value", "output"):
            yield from linear(f"{ours}/{own}/{part}", f"{theirs}.{index}.{name}.{part[0]}", False)
    last = len(attentions)
    yield from rms_norm(f"{ours}/feed_forward_norm", f"{theirs}.{last}.layer_norm")
    parts = {"gate": "wi_0", "inner": "wi_1"} if is_gated else {"inner": "wi"}
    for own, name in {**parts, "outer": "wo"}.items():
        yield from linear(f"{ours}/feed_forward/{own}", f"{theirs}.{last}.DenseReluDense.{name}", False)
