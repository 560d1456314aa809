"""Fine-tuning: which variables of a model train, and how fast each layer of it learns."""

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

from tflm.errors import UserError
from tflm.training.low_rank import add_adapters

# Layers of a body that make logits over the vocabulary; under a head of another task nothing reads them.
LANGUAGE_HEAD = ("head", "head_transform", "head_norm", "context_embedding")

_FREEZE = re.compile(r"none|body|embeddings|layers:(\d+)")
_LAYER = re.compile(r"/(encoder|decoder|lstm)(?:/block)?_(\d+)/")


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """What trains of a model whose body was trained before."""

    freeze: str = "none"
    """What stays as it is: none, body, embeddings, or layers:N (the embeddings and the first N layers)."""
    layer_decay: float = 1.0
    """Each layer learns this much slower than the one above it (Howard and Ruder, 2018, section 3.2; Clark et
    al., 2020, appendix B); 1 for all alike."""
    lora_rank: int = 0
    """Above 0, the body is frozen and low-rank adapters of this rank train in its place; see `low_rank`."""
    lora_alpha: float = 16.0
    """The adapters' product is multiplied by lora_alpha / lora_rank."""

    def __post_init__(self) -> None:
        if not _FREEZE.fullmatch(self.freeze):
            raise ValueError(f"freeze is none, body, embeddings or layers:N; got {self.freeze!r}.")
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(f"layer_decay is above 0 and at most 1; got {self.layer_decay}.")
        if self.lora_rank < 0 or self.lora_alpha <= 0.0:
            raise ValueError(
                f"lora_rank is not negative and lora_alpha is above 0; got {self.lora_rank} and {self.lora_alpha}."
            )
        if self.lora_rank and self.freeze not in ("none", "body"):
            raise ValueError(
                f"lora_rank={self.lora_rank} freezes the whole body; got freeze={self.freeze!r} too. Leave one out."
            )


def choose_trainable(model: Any, config: FineTuningConfig) -> int:
    """Freezes what `config` says, and adds the adapters; the rest of the model trains.

    A frozen variable keeps its value to the last bit; dropout works in a frozen body as in any other.

    Args:
        model: a TextModel or a HeadModel with its variables made; it is changed.
        config: what to freeze.
    Returns:
        How many numbers it froze.
    Raises:
        UserError: the model has no such layers, is no Transformer (adapters), or nothing would train.
    """
    freeze = "body" if config.lora_rank else config.freeze
    depths = depths_of(variable.path for variable in model.weights)
    num_layers = max([1, *depths.values()]) - 1
    deepest = int(freeze.partition(":")[2] or 0)
    if deepest > num_layers:
        raise UserError(f"fine_tuning.freeze={freeze!r}, but the model has {num_layers} layers.")
    if freeze == "body":
        frozen = [variable for variable in model.trainable_variables if not is_head(model, variable.path)]
    else:
        limit = -1 if freeze == "none" else deepest
        frozen = [variable for variable in model.trainable_variables if depths[variable.path] <= limit]
    for variable in frozen:
        variable.trainable = False
    if config.lora_rank:
        add_adapters(model, config.lora_rank, config.lora_alpha)
    if not model.trainable_variables:
        raise UserError(
            f"fine_tuning.freeze={freeze!r} leaves nothing to train: the output layer of this model is its "
            "embedding. Freeze less, or set model.tied_output=false."
        )
    return sum(math.prod(variable.shape) for variable in frozen)


def rate_factors(model: Any, layer_decay: float) -> list[float]:
    """For each of `model.trainable_variables`, what its learning rate is multiplied by: `layer_decay` to the power
    of its distance from the top."""
    depths = depths_of(variable.path for variable in model.weights)
    top = max(depths.values())
    return [layer_decay ** (top - depths[variable.path]) for variable in model.trainable_variables]


def depths_of(paths: Iterable[str]) -> dict[str, int]:
    """How far each variable of a model stands from the tokens: embeddings 0, layer i at i + 1, and the last norm and
    the heads at the top. An encoder's layers come before its decoder's.

    >>> depths_of(["m/token_embedding/embeddings", "m/lstm_0/kernel", "m/lstm_1/kernel", "my_head/output/kernel"])
    {'m/token_embedding/embeddings': 0, 'm/lstm_0/kernel': 1, 'm/lstm_1/kernel': 2, 'my_head/output/kernel': 3}

    Args:
        paths: of all the variables of one model.
    """
    layers = {path: _LAYER.search(path) for path in paths}
    counts = {"encoder": 0, "decoder": 0, "lstm": 0}
    for match in filter(None, layers.values()):
        counts[match[1]] = max(counts[match[1]], int(match[2]) + 1)
    return {path: _depth(path, match, counts) for path, match in layers.items()}


def _depth(path: str, layer: re.Match[str] | None, counts: dict[str, int]) -> int:
    if layer:
        return int(layer[2]) + 1 + (counts["encoder"] if layer[1] == "decoder" else 0)
    names = path.split("/")[:-1]
    if any(name.endswith("_embedding") or name == "position_bias" for name in names):
        return 0
    if counts["decoder"] and (names[1:] == ["encoder", "final_norm"] or names[-1].startswith("bridge_")):
        return counts["encoder"]
    return sum(counts.values()) + 1


def is_head(model: Any, path: str) -> bool:
    """Whether the variable belongs to what reads the hidden states: the head of a HeadModel, or the layers of a
    language model that make logits."""
    first, second = path.split("/")[:2]
    if hasattr(model, "body"):
        return first != model.body.name
    return second in LANGUAGE_HEAD
