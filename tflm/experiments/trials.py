"""The trials of a study: their records, as a table and as a picture."""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.evaluation import Coordinate, plot_coordinates
from tflm.experiments.search_space import SearchRange
from tflm.files.writing import whole_file, writing
from tflm.training.best_measure import is_lower_better

STATES = ("complete", "pruned", "running", "failed")
"""In the order of the table."""
RECIPE = 1
"""Number of the trial with the recipe's own values."""


@dataclasses.dataclass
class Trial:
    """The record of one trial."""

    number: int
    """Its place in the study, from 1, with the recipe's own values."""
    values: dict[str, Any]
    """Field to value, such as {"training.peak_learning_rate": 0.003}."""
    state: str = "running"
    """One of STATES."""
    value: float | None = None
    """The held-out measure at the end; of a pruned trial at its last evaluation."""
    steps: int = 0
    """How many steps it trained."""
    seconds: float = 0.0
    """How long they took."""
    evaluations: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    """Step and measure of each evaluation before the last step."""
    error: str = ""
    """Why it failed."""

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Trial":
        """From JSON, as `dataclasses.asdict` has it."""
        return cls(**{**record, "evaluations": [(step, value) for step, value in record["evaluations"]]})


def ranked(trials: Sequence[Trial], measure: str) -> list[Trial]:
    """Completed trials by their measure, then pruned ones by theirs, then the others; equal ones by their number."""
    sign = 1.0 if is_lower_better(measure) else -1.0

    def order(trial: Trial) -> tuple[int, float, int]:
        value = math.inf if trial.value is None or math.isnan(trial.value) else sign * trial.value
        return STATES.index(trial.state), value, trial.number

    return sorted(trials, key=order)


def short_names(fields: Sequence[str]) -> dict[str, str]:
    """Field to its name without the section, where that is unique.

    >>> short_names(["model.dropout", "task.dropout", "training.seed"])
    {'model.dropout': 'model.dropout', 'task.dropout': 'task.dropout', 'training.seed': 'seed'}
    """
    last = [field.rpartition(".")[2] for field in fields]
    return {field: name if last.count(name) == 1 else field for field, name in zip(fields, last, strict=True)}


def shown(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def values_text(trial: Trial, fields: Sequence[str]) -> str:
    """The values of a trial in a line."""
    names = short_names(fields)
    values = ", ".join(f"{names[field]} {shown(value)}" for field, value in trial.values.items())
    return f"the recipe's own values, {values}" if trial.number == RECIPE else values


def outcome_text(trial: Trial, best: Trial | None, measure: str) -> str:
    """What came of a trial, in a line."""
    if trial.state == "failed":
        return f"trial {trial.number} failed: {trial.error}"
    value = f"held-out {measure.replace('_', ' ')} {trial.value:.4f}"
    if trial.state == "pruned":
        return f"trial {trial.number} pruned at step {trial.steps:,}: {value}"
    if best is None or best is trial:
        return f"trial {trial.number}: {value} in {trial.seconds:.1f} s; the best so far"
    return f"trial {trial.number}: {value} in {trial.seconds:.1f} s; the best is {best.value:.4f}, trial {best.number}"


def trial_table(
    trials: Sequence[Trial], fields: Sequence[str], measure: str
) -> tuple[list[str], list[list[str]]]:
    """The header and a row for each trial, as texts: number, values, measure, steps, seconds, state."""
    header = ["trial", *short_names(fields).values(), measure.replace("_", " "), "steps", "seconds", "state"]
    rows = [
        [
            f"{trial.number}{' (recipe)' if trial.number == RECIPE else ''}",
            *(shown(trial.values[field]) for field in fields),
            "" if trial.value is None else f"{trial.value:.4f}",
            f"{trial.steps:,}",
            f"{trial.seconds:.1f}",
            trial.state,
        ]
        for trial in trials
    ]
    return header, rows


def write_csv(trials: Sequence[Trial], fields: Sequence[str], measure: str, path: str) -> None:
    """Writes the table with all digits, full names and the errors.

    Raises:
        UserError: the file cannot be written.
    """
    header = ["trial", "state", *fields, measure, "steps", "seconds", "error"]
    with (
        writing(f"the table {path!r}"),
        whole_file(path) as aside,
        open(aside, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for trial in trials:
            values = [
                v if isinstance(v, int | float | str) else shown(v) for v in map(trial.values.get, fields)
            ]
            value = "" if trial.value is None else trial.value
            writer.writerow(
                [trial.number, trial.state, *values, value, trial.steps, round(trial.seconds, 3), trial.error]
            )


def plot_trials(
    trials: Sequence[Trial], ranges: Sequence[SearchRange], measure: str, path: str, title: str
) -> str:
    """Draws the trials as parallel coordinates, the best measure on top.

    Returns:
        A notice about missing fonts, or "".
    Raises:
        UserError: the file cannot be written.
    """
    known = [trial for trial in trials if trial.state != "running"]
    best = next((trial.number for trial in known if trial.state == "complete"), 0)
    kinds = [
        {best: "best", RECIPE: "recipe"}.get(trial.number, trial.state)
        if trial.state == "complete"
        else trial.state
        for trial in known
    ]
    names = short_names([each.field for each in ranges])
    axes = [
        Coordinate(
            names[each.field],
            [v if _is_number(v) else shown(v) for v in (trial.values[each.field] for trial in known)],
            each.log,
        )
        for each in ranges
    ]
    ends = [trial.value if trial.state == "complete" else None for trial in known]
    finite = [value for value in ends if value is not None]
    is_wide = bool(finite) and min(finite) > 0 and max(finite) > 5 * min(finite)
    axes.append(Coordinate(f"held-out {measure.replace('_', ' ')}", ends, is_wide, is_lower_better(measure)))
    with writing(f"the picture {path!r}"):
        return plot_coordinates(axes, kinds, path, title).notice(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
