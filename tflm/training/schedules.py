"""Learning rate schedules: linear warm-up, then a decay or a constant rate."""

import math
from typing import Any

import keras
from keras import ops

from tflm.training.config import SCHEDULES

Tensor = Any


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak over `warmup_steps`, then decay to `final_fraction` of the peak at `num_steps`.

    Args:
        kind: cosine (Loshchilov and Hutter, 2017), linear, constant (no decay), inverse_sqrt (Vaswani et al., 2017,
            section 5.3; never below `final_fraction`), or warmup_stable_decay (Hu et al., 2024, section 4).
        peak_learning_rate: float.
        warmup_steps: int; the first step has 1 / warmup_steps of the peak.
        num_steps: int, total number of training steps.
        final_fraction: float, in [0, 1].
        decay_fraction: float, in (0, 1]: the share of `num_steps` that warmup_stable_decay decays in.
    Raises:
        ValueError: unknown kind.
    """

    def __init__(
        self,
        kind: str,
        peak_learning_rate: float,
        warmup_steps: int,
        num_steps: int,
        final_fraction: float,
        decay_fraction: float = 0.2,
    ) -> None:
        if kind not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}; got {kind!r}.")
        self.kind, self.peak_learning_rate = kind, peak_learning_rate
        self.warmup_steps, self.num_steps, self.final_fraction = warmup_steps, num_steps, final_fraction
        self.decay_fraction = decay_fraction

    def __call__(self, step: Tensor) -> Tensor:
        """Learning rate float32 scalar at `step`, an int scalar from 0."""
        step = ops.cast(step, "float32")
        warmup = ops.minimum(1.0, (step + 1.0) / max(self.warmup_steps, 1))
        return self.peak_learning_rate * warmup * self._decay(step)

    def _decay(self, step: Tensor) -> Tensor:
        if self.kind == "inverse_sqrt":
            warmup = float(max(self.warmup_steps, 1))
            return ops.maximum(self.final_fraction, ops.sqrt(warmup / ops.maximum(step + 1.0, warmup)))
        begin = self.warmup_steps
        if self.kind == "warmup_stable_decay":
            begin = max(begin, self.num_steps - round(self.decay_fraction * self.num_steps))
        progress = ops.clip((step - begin) / max(self.num_steps - begin, 1), 0.0, 1.0)
        if self.kind == "constant":
            return ops.ones_like(progress)
        decay = 0.5 * (1.0 + ops.cos(math.pi * progress)) if self.kind == "cosine" else 1.0 - progress
        return self.final_fraction + (1.0 - self.final_fraction) * decay

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for serialization."""
        return {
            "kind": self.kind,
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "num_steps": self.num_steps,
            "final_fraction": self.final_fraction,
            "decay_fraction": self.decay_fraction,
        }
