"""ELECTRA (Clark et al., 2020): the body of the discriminator, or the generator."""

from collections.abc import Iterator, Mapping
from typing import Any

from tflm.models.checkpoints.bert import BertLike
from tflm.models.checkpoints.family import FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import Entry, layer_norm, linear


@register_family("electra")
class Electra(BertLike):
    """BERT whose embeddings may be narrower, without a pooler."""

    fields = {**BertLike.fields, "embedding_dim": "embedding_size"}
    defaults = {**BertLike.defaults, "embedding_size": 128}
    prefix = "electra."
    heads = ("generator_predictions.", "generator_lm_head.")
    dropped = (r"discriminator_predictions\..*", r"classifier\..*", r"qa_outputs\..*")

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """See `Family`."""
        return "ElectraForMaskedLM"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Which head the file has."""
        width = theirs["embedding_size"]
        return {
            "embedding_dim": 0 if width == theirs["hidden_size"] else width,
            "head_transform": "generator_predictions.dense.weight" in tensors,
            "output_bias": "generator_lm_head.bias" in tensors,
            "tied_output": not tensors.is_own("generator_lm_head.weight", self.embeddings),
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {
            **super().extra_keys(config),
            "embedding_size": config.embedding_width,
            "tie_word_embeddings": config.tied_output,
        }

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from self.body_map(config)
        if config.embedding_width != config.hidden_dim:
            yield from linear("encoder/embedding_projection", "embeddings_project", True)
        if config.head_transform:
            yield from linear("head_transform", "generator_predictions.dense", True)
            yield from layer_norm("head_norm", "generator_predictions.LayerNorm")
        if config.output_bias:
            yield Entry.of("output_bias/bias", "generator_lm_head.bias")
        if not config.tied_output:
            yield from linear("head", "generator_lm_head", False)
