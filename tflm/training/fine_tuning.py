"""Fine-tuning: freezing, layer-wise learning rates and low-rank adapters."""

import dataclasses
import math
import re
from typing import Any

from tflm.errors import UserError
from tflm.models.layer_groups import variable_depths
from tflm.training.low_rank import add_adapters

_FREEZE = re.compile(r"none|body|embeddings|layers:(\d+)")


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """How to fine-tune a pretrained model."""

    freeze: str = "none"
    """Frozen variables: none, body, embeddings, or layers:N (the embeddings and the first N layers)."""
    layer_decay: float = 1.0
    """Layer-wise learning rate decay: factor between the learning rate of a layer and that of the layer above (Howard
    and Ruder, 2018, section 3.2; Clark et al., 2020, appendix B); 1 for a uniform learning rate."""
    lora_rank: int = 0
    """Rank of the low-rank adapters (Hu et al., 2021), trained while all else is frozen but for a task's own head; 0
    for no adapters."""
    lora_alpha: float = 16.0
    """The product of the adapter matrices is scaled by lora_alpha / lora_rank."""

    def __post_init__(self) -> None:
        if not _FREEZE.fullmatch(self.freeze):
            raise ValueError(f"freeze must be none, body, embeddings or layers:N; got {self.freeze!r}.")
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
    """Freezes variables and adds adapters according to `config`.

    Dropout stays active in a frozen body.

    Args:
        model: a built TextModel or HeadModel; modified in place.
        config: what to freeze.
    Returns:
        int, number of frozen parameters.
    Raises:
        UserError: the model has fewer layers, is not a Transformer (for adapters), or no variable is left to train.
    """
    freeze = "body" if config.lora_rank else config.freeze
    depths = depths_of(model)
    num_layers = max([1, *depths.values()]) - 1
    deepest = int(freeze.partition(":")[2] or 0)
    if deepest > num_layers:
        raise UserError(f"fine_tuning.freeze={freeze!r}, but the model has {num_layers} layers.")
    if config.lora_rank and not hasattr(model, "body"):  # the output layer of a language model is no new head
        frozen = list(model.trainable_variables)
    elif freeze == "body":
        frozen = [variable for variable in model.trainable_variables if not is_head(model, variable.path)]
    else:
        limit = -1 if freeze == "none" else deepest
        frozen = [variable for variable in model.trainable_variables if depths[variable.path] <= limit]
    for variable in frozen:
        variable.trainable = False
    if config.lora_rank:
        add_adapters(model, config.lora_rank, config.lora_alpha)
    if not model.trainable_variables and freeze != "none":  # a model of n-grams has none from the start
        raise UserError(
            f"fine_tuning.freeze={freeze!r} leaves nothing to train: the output layer of this model is its "
            "embedding. Freeze less, or set model.tied_output=false."
        )
    return sum(math.prod(variable.shape) for variable in frozen)


def rate_factors(model: Any, layer_decay: float) -> list[float]:
    """Learning rate factors of `model.trainable_variables`: `layer_decay` to the power of the distance from the top
    layer."""
    depths = depths_of(model)
    top = max(depths.values())
    return [layer_decay ** (top - depths[variable.path]) for variable in model.trainable_variables]


def depths_of(model: Any) -> dict[str, int]:
    """Depth of each variable of a model, by its path; see `variable_depths`.

    Args:
        model: a TextModel or a HeadModel with its variables built.
    """
    body = getattr(model, "body", model)
    paths = (variable.path for variable in model.weights)
    return variable_depths(paths, getattr(body, "layer_groups", ()), body.name)


def is_head(model: Any, path: str) -> bool:
    """Whether the variable belongs to the head of a HeadModel, or to the output layers of a language model."""
    first, second = path.split("/")[:2]
    if hasattr(model, "body"):
        return first != model.body.name
    return second in getattr(model, "output_layer_names", ())
