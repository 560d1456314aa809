"""Low-rank adapters (LoRA; Hu et al., 2021): the update of a frozen kernel is a product of two low-rank matrices."""

from typing import Any

import keras
import numpy as np

from tflm.errors import UserError

_NAMES = ("lora_kernel_a", "lora_kernel_b")


def add_adapters(model: Any, rank: int, alpha: float) -> None:
    """Adds an adapter to each kernel of attention and feed-forward layers: W becomes W + alpha / rank * A B, with W
    frozen, A [in, rank] random and B [rank, out] zero, so the initial outputs are unchanged (section 4.1).

    Call inside the scope of the strategy.

    Args:
        model: a built Transformer, or a HeadModel on one; modified in place.
        rank: int, rank of A B.
        alpha: float, scale.
    Raises:
        UserError: the model is not a Transformer.
    """
    projections = _projections(model)
    if not projections:
        raise UserError(
            f"fine_tuning.lora_rank={rank} needs a Transformer; this model is a {_body(model).name}. Set lora_rank to "
            "0 and choose frozen layers with fine_tuning.freeze."
        )
    for projection in projections:
        projection.enable_lora(rank, lora_alpha=alpha)


def merged_weights(model: Any) -> dict[str, np.ndarray]:
    """The weights with adapters merged into the kernels: the same outputs from the model without adapters.

    >>> merged_weights(adapted).keys() == {variable.path for variable in plain.weights}
    True

    Args:
        model: in float32, with or without adapters.
    Returns:
        Variable path to value.
    """
    weights = {variable.path: variable for variable in model.weights if not is_adapter(variable.path)}
    # `Dense.kernel` with LoRA enabled is W + alpha / rank * A B.
    kernels = {f"{projection.path}/kernel": projection.kernel for projection in _projections(model)}
    return {path: keras.ops.convert_to_numpy(value) for path, value in {**weights, **kernels}.items()}


def give_merged_weights(adapted: Any, plain: Any) -> None:
    """Gives a model without adapters the weights of one with them, as `merged_weights`, one at a time.

    Args:
        adapted: in float32.
        plain: the same model without adapters; its variables are assigned.
    """
    weights = {variable.path: variable for variable in adapted.weights if not is_adapter(variable.path)}
    projections = {f"{projection.path}/kernel": projection for projection in _projections(adapted)}
    for variable in plain.weights:
        projection = projections.get(variable.path)
        variable.assign(weights[variable.path] if projection is None else projection.kernel)


def is_adapter(path: str) -> bool:
    """Whether the variable with this path is an adapter matrix, A or B."""
    return path.rpartition("/")[2] in _NAMES


def _projections(model: Any) -> list[keras.layers.Dense]:
    adapted_layers = getattr(_body(model), "adapted_layers", list)
    return list(adapted_layers())


def _body(model: Any) -> Any:
    return getattr(model, "body", model)
