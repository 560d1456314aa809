"""Low-rank adapters (LoRA; Hu et al., 2021): the change of a frozen kernel is learned as a product of two thin ones."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tflm.errors import UserError

_NAMES = ("lora_kernel_a", "lora_kernel_b")


def add_adapters(model: Any, rank: int, alpha: float) -> None:
    """Puts an adapter beside each kernel of attention and feed-forward: W becomes W + alpha / rank * A B, with W
    frozen, A [in, rank] random and B [rank, out] zero; so at first nothing changes (section 4.1).

    Args:
        model: a Transformer, or a HeadModel on one, with its variables made; it is changed. Call inside the
            strategy's scope.
        rank: int, the width between A and B.
        alpha: float.
    Raises:
        UserError: the model has no attention.
    """
    projections = list(_projections(model))
    if not projections:
        raise UserError(
            f"fine_tuning.lora_rank={rank} is for Transformers; this model is a {_body(model).name}. Set it to 0, "
            "and fine_tuning.freeze to what should stay."
        )
    for projection in projections:
        projection.enable_lora(rank, lora_alpha=alpha)


def merged_weights(model: Any) -> dict[str, np.ndarray]:
    """Path to value of the weights that the same model would have without adapters, to give the same outputs.

    >>> merged_weights(adapted).keys() == {variable.path for variable in plain.weights}
    True

    Args:
        model: in float32, with or without adapters.
    """
    weights = {variable.path: variable for variable in model.weights if not is_adapter(variable.path)}
    # The kernel that such a layer gives is W + alpha / rank * A B.
    kernels = {f"{projection.path}/kernel": projection.kernel for projection in _projections(model)}
    return {path: keras.ops.convert_to_numpy(value) for path, value in {**weights, **kernels}.items()}


def is_adapter(path: str) -> bool:
    """Whether the variable of this path is A or B of an adapter."""
    return path.rpartition("/")[2] in _NAMES


def _projections(model: Any) -> Iterator[keras.layers.Dense]:
    for side in ("encoder", "decoder"):
        for block in getattr(getattr(_body(model), side, None), "blocks", ()):
            for attention in (block.attention, block.cross_attention):
                if attention is not None:
                    yield from (attention.query, attention.key, attention.value, attention.output_projection)
            parts = (block.feed_forward.inner, block.feed_forward.gate, block.feed_forward.outer)
            yield from (part for part in parts if part is not None)


def _body(model: Any) -> Any:
    return getattr(model, "body", model)
