"""GPT-2 (Radford et al., 2019), also Chinese GPT-2 with the vocabulary of BERT."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.family import Family, FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import TRANSPOSED, Entry, embedding, joined, layer_norm
from tflm.models.transformer_decoder import TransformerDecoderConfig


@register_family("gpt2")
class GPT2(Family):
    """Its kernels are [in, out], as those of Keras; queries, keys and values are one."""

    config_class = TransformerDecoderConfig
    fields = {
        "num_layers": "n_layer",
        "hidden_dim": "n_embd",
        "num_heads": "n_head",
        "max_length": "n_positions",
        "norm_epsilon": "layer_norm_epsilon",
        "initializer_range": "initializer_range",
        "dropout": "resid_pdrop",
        "attention_dropout": "attn_pdrop",
    }
    defaults = {
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "activation_function": "gelu_new",
    }
    constants = {"norm": "layer_norm", "positions": "learned", "use_bias": True}
    accepted = {
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    }
    activations = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact", "relu": "relu"}
    activation_key = "activation_function"
    architecture = "GPT2LMHeadModel"
    prefix = "transformer."
    ignored = (r"h\.\d+\.attn\.(masked_)?bias",)
    embeddings = "wte.weight"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Width of the inner layer, and whether the output is tied."""
        return {
            "intermediate_dim": theirs.get("n_inner", 4 * theirs["n_embd"]),
            "tied_output": not tensors.is_own("lm_head.weight", self.embeddings),
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {
            "n_inner": config.feed_forward_dim,
            "n_ctx": config.max_length,
            "embd_pdrop": config.dropout,
            "tie_word_embeddings": config.tied_output,
        }

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from embedding("token_embedding", "wte")
        yield from embedding("decoder/position_embedding", "wpe")
        for index in range(config.num_layers):
            yield from _block(f"decoder/block_{index}", f"h.{index}")
        yield from layer_norm("decoder/final_norm", "ln_f")
        if not config.tied_output:
            yield Entry.of("head/kernel", "lm_head.weight", TRANSPOSED)


def _block(ours: str, theirs: str) -> Iterator[Entry]:
    yield from layer_norm(f"{ours}/attention_norm", f"{theirs}.ln_1")
    yield from layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.ln_2")
    parts = [f"{ours}/attention/{part}" for part in ("query", "key", "value")]
    yield Entry.of([f"{part}/kernel" for part in parts], f"{theirs}.attn.c_attn.weight", joined(3, axis=1))
    yield Entry.of([f"{part}/bias" for part in parts], f"{theirs}.attn.c_attn.bias", joined(3, axis=0))
    layers = {
        "attention/output": "attn.c_proj",
        "feed_forward/inner": "mlp.c_fc",
        "feed_forward/outer": "mlp.c_proj",
    }
    for own, name in layers.items():
        yield Entry.of(f"{ours}/{own}/kernel", f"{theirs}.{name}.weight")
        yield Entry.of(f"{ours}/{own}/bias", f"{theirs}.{name}.bias")
