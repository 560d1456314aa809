"""What the trainer asks of masks that keep weights at 0, such as those of pruning."""

from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf


class WeightMasks(Protocol):
    """Masks of some of the weights. Their updates are between calls of the compiled loop, at fixed steps, and before a
    checkpoint of the same step is written; so a resumed training has the same masks."""

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The masks by their names in a checkpoint."""

    def mask_gradients(self, gradients: Sequence[tf.Tensor], variables: Sequence[Any]) -> list[tf.Tensor]:
        """Gradients with respect to the masked weights; called on each replica, before clipping."""

    def apply(self) -> None:
        """Sets masked weights to 0; called after each step."""

    def steps_until_update(self, step: int) -> int | None:
        """How many steps may be run after `step` before `update` is called; None for any number."""

    def update(self, step: int) -> str:
        """New masks after `step`, if any are due; gives a line for the user, or ""."""
