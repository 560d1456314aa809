"""The best checkpoint by a held-out measure, and early stopping."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tflm.errors import UserError
from tflm.training.config import TrainingConfig

PART = "part_"
"""Before the name of a held-out measure in the log: over the first `max_eval_batches` alone, as at earlier steps. The
last step has it besides that of all batches, so that checkpoints are compared over the same examples."""
_LOWER_IS_BETTER = ("loss", "perplexity", "error", "bits")


class BestMeasure:
    """The best value of a measure, and the number of evaluations since. The state is a function of the log, so that a
    resumed run goes on with it.

    Args:
        name: of the measure, such as "loss"; "" if there is none.
        patience: int, evaluations without improvement after which training stops; 0 for never.
        records: of the log up to the restored step.
    """

    def __init__(self, name: str, patience: int, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self.name, self.patience = name, patience
        self.step, self.value, self.num_since = 0, 0.0, 0
        for record in records:
            if name and f"eval_{name}" in record:
                self._add(record["step"], record.get(f"{PART}eval_{name}", record[f"eval_{name}"]))

    @classmethod
    def of(
        cls, config: TrainingConfig, records: Iterable[Mapping[str, Any]], has_eval: bool
    ) -> "BestMeasure":
        """That of a config.

        Raises:
            UserError: it needs held-out data, and there is none.
        """
        name = measure_name(config.keep_best) or ("loss" if config.early_stopping_patience else "")
        if name and not has_eval:
            raise UserError(
                f"training.keep_best={config.keep_best!r} and training.early_stopping_patience="
                f"{config.early_stopping_patience} need held-out data. Set data.eval_fraction or data.eval_path, or "
                "leave them out."
            )
        return cls(name, config.early_stopping_patience, records)

    def add(self, step: int, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """Takes an evaluation.

        Args:
            step: int.
            metrics: of the task.
        Returns:
            {"measure": ..., "value": ...} if it is the best so far, else None.
        Raises:
            UserError: the measure is not among the metrics.
        """
        if not self.name:
            return None
        self.check(metrics)
        value = float(f"{metrics[self.name]:.7g}")  # as the log has it
        return {"measure": self.name, "value": value} if self._add(step, value) else None

    def check(self, metrics: Mapping[str, float]) -> None:
        """Raises UserError unless the measure is among the metrics."""
        if self.name and self.name not in metrics:
            names = ", ".join(name for name in metrics if not name.startswith("num_"))
            raise UserError(
                f"training.keep_best={self.name!r} is not a held-out measure of this task. It has: {names}."
            )

    @property
    def should_stop(self) -> bool:
        """Whether training ends here."""
        return 0 < self.patience <= self.num_since

    def stop_note(self, step: int) -> str:
        """A line about the early stop."""
        return (
            f"stopped at step {step:,}: the held-out {self.name.replace('_', ' ')} has not improved in "
            f"{self.num_since} evaluations. The best was {self.value:.4g} at step {self.step:,}: tflm export "
            "--checkpoint=best."
        )

    def _add(self, step: int, value: float) -> bool:
        better = value < self.value if is_lower_better(self.name) else value > self.value
        if better or (self.step == 0 and not math.isnan(value)):
            self.step, self.value, self.num_since = step, value, 0
            return True
        self.num_since += 1
        return False


def measure_name(text: str) -> str:
    """The name of a measure as a task's metrics have it.

    >>> measure_name("eval loss")
    'loss'
    """
    return text.strip().lower().replace(" ", "_").removeprefix("eval_").removeprefix("held-out_")


def is_lower_better(name: str) -> bool:
    """Whether a smaller value of a measure is better.

    >>> is_lower_better("loss"), is_lower_better("mean_absolute_error"), is_lower_better("accuracy")
    (True, True, False)
    """
    return any(word in name for word in _LOWER_IS_BETTER)
