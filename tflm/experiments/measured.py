"""What is evaluated: a run or an export, and the examples to evaluate it on."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from tflm.config import from_dict, override
from tflm.data import DataConfig
from tflm.errors import UsageError, UserError
from tflm.evaluation import signature_fn
from tflm.experiments.auto_recipe import find_columns
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.run import Run
from tflm.export.weights import read_weights
from tflm.files.formats import source_of
from tflm.tasks import Task, task_class
from tflm.training.stored_model import CheckpointChoice, describe_choice

_PLAIN = ("text", "conll", "segmented", "parallel")
_WHOLE: dict[str, Any] = {  # a file that is read from its beginning to its end
    **dict.fromkeys(("eval_path", "test_path", "train_file", "eval_file", "test_file"), ""),
    **dict.fromkeys(("eval_fraction", "test_fraction"), 0.0),
    "mixture": (),
    "train_fraction": 1.0,
    "split": "hash",
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run or an export."""

    config: ExperimentConfig
    step: int
    find_fn: Callable[[str], Any]
    """The name of a signature to its `AnswerFn`."""
    facts: dict[str, Any]
    """For the report: `num_parameters`, and of an export `model` and `size_bytes`."""
    run: Run | None = None
    model: Any = None
    """Of a run: its trained model."""

    @property
    def task_class(self) -> type[Task]:
        """The class of the task."""
        return task_class(self.config.task)


def measured_run(run: Run, step: CheckpointChoice) -> Measured:
    """A checkpoint of a run.

    Raises:
        UserError: no such checkpoint.
    """
    model, found = run.trained_model(step)
    signatures = run.task.signatures(model)
    facts = {"num_parameters": model.num_parameters()}
    if about := describe_choice(f"{run.workdir}/checkpoints", step):
        facts["checkpoint"] = about
    return Measured(run.config, found, lambda name: signature_fn(signatures[name]), facts, run, model)


def measured_export(model: Any, path: str) -> Measured:
    """An export, of which the signatures alone are used.

    Args:
        model: what `tflm.serving.connect` gave for its folder.
        path: as the user wrote it, for messages.
    Raises:
        UserError: tflm did not write it.
    """
    if "data" not in model.config:
        raise UserError(
            f"{path!r} has no config.json that says what it was trained for: tflm evaluate measures exports of "
            "tflm export, by their folder."
        )
    files = (os.path.join(root, name) for root, _, names in os.walk(model.path) for name in names)
    facts = {
        "model": model.path,
        "num_parameters": sum(value.size for value in read_weights(model.path).values()),
        "size_bytes": sum(map(os.path.getsize, files)),
    }
    return answering(model, facts)


def answering(model: Any, facts: dict[str, Any]) -> Measured:
    """An export, or a served model, of which tflm wrote the config.

    Args:
        model: what `tflm.serving.connect` gave.
        facts: see `Measured`.
    """
    config = from_dict(
        ExperimentConfig, {name: value for name, value in model.config.items() if name != "source"}
    )
    step = model.config.get("source", {}).get("step", 0)
    return Measured(config, step, lambda name: functools.partial(model.predict, name), facts)


def find_data(
    config: ExperimentConfig, path: str, split: str, settings: Sequence[str]
) -> tuple[DataConfig, str]:
    """The `DataConfig` and the side of it to measure on.

    Args:
        config: of the run or the export.
        path: a file of its own, all of which is measured; "" for the config's data.
        split: eval or test, of the config's data.
        settings: `data.field=value` each.
    Raises:
        UsageError: a setting of something else; or a column is not found by its name.
        UserError: there is no such side.
    """
    if wrong := [setting for setting in settings if not setting.startswith("data.")]:
        raise UsageError(f"--set {wrong[0]}: only how the data is read can be set here, as data.FIELD=VALUE.")
    data = config.data
    if path:
        source = source_of(path)
        data = next((each for each in data.sources.values() if each.source == source), data)
        if source == data.source or (data.source in _PLAIN and source == "text"):
            data, split = dataclasses.replace(data, path=path, **_WHOLE), "train"
        else:
            whole = ["data.eval_fraction=0", *settings]
            return find_columns(task_class(config.task), config.task.kind, path, settings=whole), "train"
    data = override(dataclasses.replace(config, data=data), settings).data
    if not data.has_split(split):
        field, side = {"eval": ("eval_fraction", "held-out"), "test": ("test_fraction", "test")}[split]
        raise UserError(
            f"the data of {config.name!r} has no {side} side: data.{field} is 0. Give --data=FILE."
        )
    return data, split
