"""What `apps.evaluate` measures: a run or an export, and the examples to measure it on."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from apps.command_line import quiet_libraries
from tflm.errors import UsageError, UserError

_TABLES = ("jsonl", "csv", "tsv")
_PLAIN = ("text", "conll", "segmented", "parallel")
_WHOLE: dict[str, Any] = {  # a file that is read from its beginning to its end
    **dict.fromkeys(("eval_path", "test_path", "train_file", "eval_file", "test_file"), ""),
    **dict.fromkeys(("eval_fraction", "test_fraction"), 0.0),
    "train_fraction": 1.0,
    "split": "hash",
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run or an export."""

    config: Any
    """Its `ExperimentConfig`."""
    step: int
    find_fn: Callable[[str], Any]
    """The name of a signature to its `AnswerFn`."""
    facts: dict[str, Any]
    """For the report: `num_parameters`, and of an export `model` and `size_bytes`."""
    experiment: Any = None
    model: Any = None
    """Of a run: it, and its trained model."""


def open_run(workdir: str, step: int | None) -> Measured:
    """A checkpoint of a run.

    Raises:
        UserError: no run there, or no such checkpoint.
    """
    from tflm.evaluation import signature_fn
    from tflm.presets import Experiment

    experiment = Experiment.open(workdir)
    model, found = experiment.trained_model(step)
    signatures = experiment.task.signatures(model)
    facts = {"num_parameters": model.num_parameters()}
    return Measured(
        experiment.config, found, lambda name: signature_fn(signatures[name]), facts, experiment, model
    )


def open_export(path: str) -> Measured:
    """An export, of which the signatures alone are used.

    Raises:
        UserError: no SavedModel there, or one that tflm did not write.
    """
    from tflm.config import from_dict
    from tflm.export.weights import read_weights
    from tflm.presets import ExperimentConfig
    from tflm.serving import connect

    with quiet_libraries():
        model = connect(path)
    if "data" not in model.config:
        raise UserError(
            f"{path!r} has no config.json that says what it was trained for: apps.evaluate measures exports of "
            "apps.export, by their folder."
        )
    written = {name: value for name, value in model.config.items() if name != "source"}
    files = (os.path.join(root, name) for root, _, names in os.walk(model.path) for name in names)
    facts = {
        "model": model.path,
        "num_parameters": sum(value.size for value in read_weights(model.path).values()),
        "size_bytes": sum(map(os.path.getsize, files)),
    }
    step = model.config.get("source", {}).get("step", 0)
    return Measured(
        from_dict(ExperimentConfig, written), step, lambda name: functools.partial(model.predict, name), facts
    )


def find_data(config: Any, path: str | None, split: str, settings: Sequence[str]) -> tuple[Any, str]:
    """The `DataConfig` and the side of it to measure on.

    Args:
        config: the `ExperimentConfig`.
        path: a file of its own, all of which is measured; None for the config's data.
        split: eval or test, of the config's data.
        settings: `data.field=value` each.
    Raises:
        UsageError: a setting of something else; or a column is not found by its name.
        UserError: there is no such side.
    """
    from tflm.config import override
    from tflm.presets.automatic import automatic

    if wrong := [setting for setting in settings if not setting.startswith("data.")]:
        raise UsageError(f"--set {wrong[0]}: only how the data is read can be set here, as data.FIELD=VALUE.")
    data = config.data
    if path:
        ending = os.path.splitext(path.removesuffix(".gz"))[1][1:].lower()
        if ending == data.source or (data.source in _PLAIN and ending not in _TABLES):
            data, split = dataclasses.replace(data, path=path, **_WHOLE), "train"
        else:
            return automatic(config.task.kind, path, "", ["data.eval_fraction=0", *settings]).data, "train"
    data = override(dataclasses.replace(config, data=data), settings).data
    if not {"train": True, "eval": data.has_eval, "test": data.has_test}[split]:
        field, side = {"eval": ("eval_fraction", "held-out"), "test": ("test_fraction", "test")}[split]
        raise UserError(
            f"the data of {config.name!r} has no {side} side: data.{field} is 0. Give --data=FILE."
        )
    return data, split
