"""DistilBERT (Sanh et al., 2019): BERT without segments and pooler, under other names."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.bert import BertLike
from tflm.models.checkpoints.family import FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import Entry, embedding, layer_norm, linear


@register_family("distilbert")
class DistilBert(BertLike):
    """See the module."""

    fields = {
        "num_layers": "n_layers",
        "hidden_dim": "dim",
        "num_heads": "n_heads",
        "intermediate_dim": "hidden_dim",
        "max_length": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    }
    defaults = {"initializer_range": 0.02, "dropout": 0.1, "attention_dropout": 0.1, "activation": "gelu"}
    constants = {**BertLike.constants, "num_segments": 0, "norm_epsilon": 1e-12}
    accepted = {}
    activations = {"gelu": "gelu_exact", "relu": "relu"}
    activation_key = "activation"
    architecture = "DistilBertForMaskedLM"
    prefix = "distilbert."
    heads = ("vocab_",)
    dropped = (r"pre_classifier\..*", r"classifier\..*", r"qa_outputs\..*")

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Whether the file has the head."""
        return {
            "head_transform": "vocab_transform.weight" in tensors,
            "output_bias": "vocab_projector.bias" in tensors,
            "tied_output": not tensors.is_own("vocab_projector.weight", self.embeddings),
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {
            "sinusoidal_pos_embds": False,
            "pad_token_id": config.pad_id,
            "tie_word_embeddings": config.tied_output,
        }

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from embedding("token_embedding", "embeddings.word_embeddings")
        yield from embedding("encoder/position_embedding", "embeddings.position_embeddings")
        yield from layer_norm("encoder/embedding_norm", "embeddings.LayerNorm")
        for index in range(config.num_layers):
            yield from _block(f"encoder/block_{index}", f"transformer.layer.{index}")
        if config.head_transform:
            yield from linear("head_transform", "vocab_transform", True)
            yield from layer_norm("head_norm", "vocab_layer_norm")
        if config.output_bias:
            yield Entry.of("output_bias/bias", "vocab_projector.bias")
        if not config.tied_output:
            yield from linear("head", "vocab_projector", False)


def _block(ours: str, theirs: str) -> Iterator[Entry]:
    for part, name in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "out")):
        yield from linear(f"{ours}/attention/{part}", f"{theirs}.attention.{name}_lin", True)
    yield from layer_norm(f"{ours}/attention_norm", f"{theirs}.sa_layer_norm")
    yield from linear(f"{ours}/feed_forward/inner", f"{theirs}.ffn.lin1", True)
    yield from linear(f"{ours}/feed_forward/outer", f"{theirs}.ffn.lin2", True)
    yield from layer_norm(f"{ours}/feed_forward_norm", f"{theirs}.output_layer_norm")
