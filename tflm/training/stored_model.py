"""Weights from the checkpoints of a run: the newest, the best, an average of several, or their moving average."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.files.writing import writing
from tflm.training.checkpoint import Checkpoints
from tflm.training.checkpoint_files import READ_ERRORS, SHAPES_FILE, StoredWeight, stored_weights, write_files

CHOICES = ("newest", "best", "average", "ema")
"""Names of checkpoints; a step is the other way to choose one."""
CheckpointChoice = int | str | None
"""One of `CHOICES`, a step as a number or in digits, or None for the newest."""

_AVERAGE = "average"


def load_weights(folder: str, model: Any, choice: CheckpointChoice = None) -> int:
    """Loads weights of a checkpoint into a model.

    Args:
        folder: of the checkpoints.
        model: a built model with the variables of the checkpoint.
        choice: newest, best (by the measure of `keep_best`), average (made by `average_checkpoints`), ema (the moving
            average of the weights in the newest checkpoint; weights that are not trained have none and are taken as
            they are), or a step.
    Returns:
        int, the step of the checkpoint; of an average the newest of its steps.
    Raises:
        UserError: there is no such checkpoint, it is damaged, or it belongs to another model.
    """
    values = {variable.path: variable.value for variable in model.weights}
    names = {path: f"model/{path}" for path in values}
    choice = check_choice(choice)
    if choice == "ema":
        stored = _stored_names(folder)
        averages = {path: f"optimizer/{path.replace('/', '_')}_average" for path in values}
        names = {path: averages[path] if averages[path] in stored else name for path, name in names.items()}
        if not any(name.startswith("optimizer/") for name in names.values()):
            raise UserError(
                f"the checkpoints in {folder!r} have no moving average of the weights. Train with "
                "training.ema_decay=0.999, or choose another checkpoint."
            )
    checkpoints = Checkpoints(folder, {name: values[path] for path, name in names.items()})
    if choice == _AVERAGE:
        found = checkpoints.restore_from(os.path.join(folder, _AVERAGE))
        if found is None:
            raise UserError(
                f"there is no average in {folder!r}. `tflm average --workdir=RUN --last=3` makes one."
            )
        return found
    step = _best_step(checkpoints) if choice == "best" else choice
    found = checkpoints.restore(step if isinstance(step, int) else None, partial=True)
    if found is None:
        raise UserError(f"there is no checkpoint in {folder!r}. `tflm train` makes one.")
    return found


def check_choice(choice: CheckpointChoice) -> int | str:
    """The choice, with a step as an int.

    Raises:
        UserError: it is neither a step nor one of `CHOICES`.
    """
    if choice is None:
        return "newest"
    if isinstance(choice, int) or choice.isdecimal():
        return int(choice)
    if choice not in CHOICES:
        raise UserError(f"a checkpoint is {', '.join(CHOICES)} or a step, such as 500; got {choice!r}.")
    return choice


def describe_choice(folder: str, choice: CheckpointChoice) -> str:
    """What is special about the weights of a choice, for the model card; "" for the weights of one step.

    Raises:
        UserError: as `check_choice`.
    """
    choice = check_choice(choice)
    if choice == "best":
        best = Checkpoints(folder, {}).best() or {"measure": "?", "value": 0.0}
        return f"best checkpoint by held-out {best['measure'].replace('_', ' ')} ({best['value']:.4g})"
    if choice == _AVERAGE:
        steps = ", ".join(f"{step:,}" for step in _facts(os.path.join(folder, _AVERAGE)).get("averaged", []))
        return f"average of the checkpoints of steps {steps}"
    return "exponential moving average of the weights" if choice == "ema" else ""


class AveragedCheckpoint(NamedTuple):
    """What `average_checkpoints` wrote."""

    path: str
    """Its folder."""
    steps: list[int]
    """Of the checkpoints that were averaged, in ascending order."""


def average_checkpoints(folder: str, steps: Sequence[int]) -> AveragedCheckpoint:
    """Writes the mean of the weights of several checkpoints to `FOLDER/average/`, in place of an earlier one.

    The mean is taken in float64. Variables that are no floats, such as the state of random generators, are those of
    the newest. Vaswani et al., 2017, section 6.1, average the last 5 or 20 checkpoints.

    Args:
        folder: of the checkpoints.
        steps: at least two, each with a checkpoint.
    Raises:
        UserError: fewer than two steps, one without a checkpoint or with a damaged one, checkpoints of different
            models, or the average cannot be written.
    """
    chosen, checkpoints = sorted(set(steps)), Checkpoints(folder, {})
    if len(chosen) < 2:
        raise UserError(f"an average is of at least 2 checkpoints; got {len(chosen)}.")
    have = checkpoints.steps()
    if missing := [step for step in chosen if step not in have]:
        raise UserError(
            f"no checkpoint of step {missing[0]} in {folder!r}; available steps: {', '.join(map(str, have)) or 'none'}."
        )
    parts = [stored_weights(checkpoints.path(step), prefix="") for step in chosen]
    names = [name for name in parts[-1] if name.startswith("model/")]
    for step, part in zip(chosen, parts, strict=True):
        for name in names:
            if name not in part or part[name].shape != parts[-1][name].shape:
                raise UserError(
                    f"the checkpoints of steps {step} and {chosen[-1]} differ in the shape of {name}."
                )
    final = os.path.join(folder, _AVERAGE)
    aside = f"{final}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with writing(f"the average {final!r}", checkpoints.kept_note):
            means = {name: _mean([part[name] for part in parts]) for name in names}
            write_files(aside, means, {"step": chosen[-1], "averaged": chosen})
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return AveragedCheckpoint(final, chosen)


def newest_steps(folder: str, count: int) -> list[int]:
    """The steps of the newest checkpoints.

    Raises:
        UserError: there are fewer.
    """
    steps = Checkpoints(folder, {}).steps()
    if len(steps) < count:
        shown = ", ".join(map(str, steps)) or "none"
        raise UserError(
            f"{count} checkpoints are needed; {folder!r} has {len(steps)} (steps {shown}). Train with a larger "
            "training.keep_checkpoints, or average fewer."
        )
    return steps[len(steps) - count :]


def _mean(values: Sequence[StoredWeight]) -> np.ndarray:
    newest = np.asarray(values[-1])
    if not tf.as_dtype(newest.dtype).is_floating:
        return newest
    total = np.zeros(newest.shape, np.float64)
    for value in values:
        total += np.asarray(value, np.float64)
    return (total / len(values)).astype(newest.dtype)


def _best_step(checkpoints: Checkpoints) -> int:
    best = checkpoints.best()
    if best is None:
        raise UserError(
            f"no best checkpoint is recorded in {checkpoints.folder!r}. Train with training.keep_best=loss, or choose "
            "another checkpoint."
        )
    return int(best["step"])


def _stored_names(folder: str) -> Mapping[str, Any]:
    """Names in the newest checkpoint whose shapes can be read."""
    checkpoints = Checkpoints(folder, {})
    for step in reversed(checkpoints.steps()):
        if shapes := _facts(checkpoints.path(step)).get("shapes"):
            return dict(shapes)
    return {}


def _facts(folder: str) -> dict[str, Any]:
    try:
        with open(os.path.join(folder, SHAPES_FILE), encoding="utf-8") as file:
            return dict(json.load(file))
    except READ_ERRORS:
        return {}
