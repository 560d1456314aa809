"""ALBERT (Lan et al., 2020): layers that share their weights, and narrow embeddings."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.bert import BertLike
from tflm.models.checkpoints.family import FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import Entry, layer_norm, linear

_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"


@register_family("albert")
class Albert(BertLike):
    """One layer that is applied again and again."""

    fields = {**BertLike.fields, "embedding_dim": "embedding_size"}
    defaults = {
        **BertLike.defaults,
        "embedding_size": 128,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu_new",
    }
    constants = {**BertLike.constants, "shared_layers": True}
    accepted = {**BertLike.accepted, "num_hidden_groups": (1,), "inner_group_num": (1,)}
    activations = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_exact"}
    prefix = "albert."
    heads = ("predictions.",)
    dropped = (r"sop_classifier\..*", r"classifier\..*", r"qa_outputs\..*")
    architecture = "AlbertForMaskedLM"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Which heads the file has."""
        tensors.is_own("predictions.decoder.bias", "predictions.bias")
        width = theirs["embedding_size"]
        return {
            "embedding_dim": 0 if width == theirs["hidden_size"] else width,
            "head_transform": "predictions.dense.weight" in tensors,
            "output_bias": "predictions.bias" in tensors,
            "tied_output": not tensors.is_own("predictions.decoder.weight", self.embeddings),
            "pooler": "pooler.weight" in tensors,
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {**super().extra_keys(config), "embedding_size": config.embedding_width}

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        for entry in self.body_map(config):
            if not entry.ours[0].startswith("encoder/block_"):
                yield entry
        yield from linear("encoder/embedding_projection", "encoder.embedding_hidden_mapping_in", True)
        yield from _shared_block("encoder/block_0")
        if config.pooler:
            yield from linear("pooler", "pooler", True)
        if config.head_transform:
            yield from linear("head_transform", "predictions.dense", True)
            yield from layer_norm("head_norm", "predictions.LayerNorm")
        if config.output_bias:
            yield Entry.of("output_bias/bias", "predictions.bias")


def _shared_block(ours: str) -> Iterator[Entry]:
    for part in ("query", "key", "value"):
        yield from linear(f"{ours}/attention/{part}", f"{_LAYER}.attention.{part}", True)
    yield from linear(f"{ours}/attention/output", f"{_LAYER}.attention.dense", True)
    yield from layer_norm(f"{ours}/attention_norm", f"{_LAYER}.attention.LayerNorm")
    yield from linear(f"{ours}/feed_forward/inner", f"{_LAYER}.ffn", True)
    yield from linear(f"{ours}/feed_forward/outer", f"{_LAYER}.ffn_output", True)
    yield from layer_norm(f"{ours}/feed_forward_norm", f"{_LAYER}.full_layer_layer_norm")
