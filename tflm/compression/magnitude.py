"""Magnitude pruning during training, gradual (Zhu and Gupta, 2017) or in the pattern N:M (Mishra et al., 2021)."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.compression.config import PruningConfig
from tflm.errors import UserError

PREFIX = "pruning/"
"""Of the masks' names in a checkpoint."""
_PRUNINGS = 20


class MagnitudePruning:
    """Masks of the kernels inside the layers of a model: attention, feed-forward networks, LSTMs. Embeddings, norms,
    biases and heads stay whole. Implements `tflm.training.weight_masks.WeightMasks`.

    The share of a matrix that is pruned after step t is s (1 - (1 - (t - t0) / (t1 - t0))³), from t0 to t1 (section 3,
    equation 1, with the initial sparsity 0); the pattern N:M is pruned at once, at t0.

    Args:
        model: built; call inside the scope of the strategy.
        config: what to prune, and when.
        num_steps: int, of the whole training.
    Raises:
        UserError: the model has nothing to prune, or a matrix that M does not divide.
    """

    def __init__(self, model: Any, config: PruningConfig, num_steps: int) -> None:
        self._config = config
        self._begin = round(config.begin * num_steps)
        self._end = self._begin if config.pattern else max(self._begin, round(config.end * num_steps))
        span = self._end - self._begin
        self._every = config.every or max(1, span // _PRUNINGS)
        self._kernels = prunable(model)
        if not self._kernels:
            raise UserError("this model has no kernels inside layers, and so nothing to prune.")
        if config.pattern:
            self._check_pattern(config.pattern[1])
        self._masks = [
            tf.Variable(tf.ones(kernel.shape, tf.bool), trainable=False, name="mask")
            for kernel in self._kernels
        ]
        self._by_path = {kernel.path: mask for kernel, mask in zip(self._kernels, self._masks, strict=True)}

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The masks by their names in a checkpoint."""
        return {f"{PREFIX}{path}": mask for path, mask in self._by_path.items()}

    def mask_gradients(self, gradients: Sequence[tf.Tensor], variables: Sequence[Any]) -> list[tf.Tensor]:
        """Gradients with respect to the masked weights: 0 where a weight is pruned."""
        masks = [self._by_path.get(variable.path) for variable in variables]
        return [
            gradient if mask is None else tf.where(mask, gradient, 0.0)
            for gradient, mask in zip(gradients, masks, strict=True)
        ]

    def apply(self) -> None:
        """Sets pruned weights to 0."""
        for kernel, mask in zip(self._kernels, self._masks, strict=True):
            kernel.value.assign(tf.where(mask, kernel.value, 0.0))

    def steps_until_update(self, step: int) -> int | None:
        """How many steps may be run after `step` before `update` is called; None for any number."""
        if step >= self._end:
            return None
        if step < self._begin:
            return self._begin - step
        return min(self._end, step + self._every - (step - self._begin) % self._every) - step

    def update(self, step: int) -> str:
        """New masks after `step`, if any are due.

        Returns:
            A line for the user, or "".
        """
        due = self._begin <= step <= self._end and (
            step == self._end or (step - self._begin) % self._every == 0
        )
        share = sparsity(step, self._config.share, self._begin, self._end) if due else 0.0
        if not share:
            return ""
        for kernel, mask in zip(self._kernels, self._masks, strict=True):
            weights = np.asarray(kernel)
            if self._config.pattern:
                mask.assign(pattern_mask(weights, *self._config.pattern))
            else:
                mask.assign(magnitude_mask(weights, mask.numpy(), share))
        self.apply()
        if step < self._end:
            return ""
        total = sum(math.prod(mask.shape) for mask in self._masks)
        pruned = total - sum(int(np.count_nonzero(mask.numpy())) for mask in self._masks)
        return (
            f"step {step:,}: {pruned:,} of {total:,} weights in {len(self._masks)} matrices are pruned "
            f"({100 * pruned / total:.1f}%)."
        )

    def _check_pattern(self, group: int) -> None:
        for kernel in self._kernels:
            if kernel.shape[0] % group:
                raise UserError(
                    f"pruning.structure={self._config.structure[0]!r}: the {kernel.shape[0]} inputs of {kernel.path} "
                    f"are no multiple of {group}."
                )


def prunable(model: Any) -> list[Any]:
    """The trainable matrices inside the layers of a model: Keras variables named kernel or recurrent_kernel."""
    body = getattr(model, "body", model)
    stacks = "|".join(re.escape(group.layers) for group in body.layer_groups)
    inside = re.compile(rf"{re.escape(body.name)}/(?:{stacks})_\d+/.*kernel")
    return [
        variable
        for variable in model.trainable_variables
        if body.layer_groups and len(variable.shape) == 2 and inside.fullmatch(variable.path)
    ]


def sparsity(step: int, share: float, begin: int, end: int) -> float:
    """The share of weights that is pruned after a step (Zhu and Gupta, 2017, equation 1).

    >>> sparsity(50, share=0.8, begin=0, end=100)
    0.7
    """
    if step < begin:
        return 0.0
    if step >= end:
        return share
    return share * (1.0 - (1.0 - (step - begin) / (end - begin)) ** 3)


def magnitude_mask(weights: np.ndarray, mask: np.ndarray, share: float) -> np.ndarray:
    """Prunes the smallest weights of a matrix; what was pruned before stays so.

    >>> magnitude_mask([[3.0, -1.0], [0.5, 2.0]], [[True, True], [True, True]], share=0.5)
    [[True, False], [False, True]]

    Args:
        weights: float [N, M].
        mask: bool [N, M], False where pruned before.
        share: float, of all weights.
    Returns:
        bool [N, M].
    """
    sizes = np.where(mask, np.abs(weights), -1.0).ravel()
    count = round(share * sizes.size)
    kept = np.ones(sizes.size, bool)
    kept[np.argsort(sizes, kind="stable")[:count]] = False
    return kept.reshape(np.shape(weights)) & mask


def pattern_mask(weights: np.ndarray, keep: int, group: int) -> np.ndarray:
    """Keeps the largest `keep` of each `group` of consecutive inputs of an output (N:M sparsity).

    >>> pattern_mask([[3.0], [-1.0], [0.5], [2.0]], keep=2, group=4)
    [[True], [False], [False], [True]]

    Args:
        weights: float [D, E], inputs first; `group` divides D.
    Returns:
        bool [D, E].
    """
    groups = np.abs(np.asarray(weights)).reshape(-1, group, np.shape(weights)[1])
    ranks = np.argsort(np.argsort(-groups, axis=1, kind="stable"), axis=1, kind="stable")
    return (ranks < keep).reshape(np.shape(weights))
