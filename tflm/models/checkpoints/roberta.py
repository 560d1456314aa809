"""RoBERTa (Liu et al., 2019) and XLM-RoBERTa (Conneau et al., 2020)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tflm.models.checkpoints.bert import BertLike
from tflm.models.checkpoints.family import FamilyTensors, register_family
from tflm.models.checkpoints.weight_map import Entry, Transform, layer_norm, linear

_OFFSET = 2  # positions begin after the padding id, which is 1


def _read_positions(positions: np.ndarray, types: np.ndarray) -> tuple[np.ndarray]:
    return (positions[_OFFSET:].astype(np.float32) + types[:1].astype(np.float32),)


def _write_positions(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.pad(positions, [(_OFFSET, 0), (0, 0)]), np.zeros_like(positions[:1])


_POSITIONS = Transform(_read_positions, _write_positions)
"""The first position is row 2, and the one segment is added to each."""


@register_family("roberta")
@register_family("xlm-roberta")
class Roberta(BertLike):
    """BERT whose positions begin at 2, with one segment."""

    fields = {
        ours: theirs for ours, theirs in BertLike.fields.items() if ours not in ("num_segments", "max_length")
    }
    constants = {**BertLike.constants, "num_segments": 0}
    accepted = {**BertLike.accepted, "type_vocab_size": (1,), "pad_token_id": (1,)}
    prefix = "roberta."
    dropped = (r"classifier\..*", r"qa_outputs\..*")

    @property
    def architecture(self) -> str:  # type: ignore[override]
        """See `Family`."""
        return "RobertaForMaskedLM" if self.model_type == "roberta" else "XLMRobertaForMaskedLM"

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Positions, and which heads the file has."""
        tensors.is_own("lm_head.decoder.bias", "lm_head.bias")
        return {
            "max_length": theirs["max_position_embeddings"] - _OFFSET,
            "head_transform": "lm_head.dense.weight" in tensors,
            "output_bias": "lm_head.bias" in tensors,
            "tied_output": not tensors.is_own("lm_head.decoder.weight", self.embeddings),
            "pooler": "pooler.dense.weight" in tensors,
        }

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """See `extra_fields`."""
        return {
            "max_position_embeddings": config.max_length + _OFFSET,
            "tie_word_embeddings": config.tied_output,
            "pad_token_id": 1,
        }

    def position_map(self, config: Any) -> Iterator[Entry]:
        """See `BertLike`."""
        names = ("embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight")
        yield Entry.of("encoder/position_embedding/embeddings", names, _POSITIONS)

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """See `Family`."""
        yield from self.body_map(config)
        if config.pooler:
            yield from linear("pooler", "pooler.dense", True)
        if config.head_transform:
            yield from linear("head_transform", "lm_head.dense", True)
            yield from layer_norm("head_norm", "lm_head.layer_norm")
        if config.output_bias:
            yield Entry.of("output_bias/bias", "lm_head.bias")
        if not config.tied_output:
            yield from linear("head", "lm_head.decoder", False)
