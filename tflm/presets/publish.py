"""From a trained run to `saved_models/NAME/VERSION`."""

import json
import os

from tflm.config import to_dict
from tflm.errors import UserError
from tflm.export import write_export
from tflm.presets.experiment import Experiment
from tflm.training import read_log


def publish(experiment: Experiment, output: str, step: int | None = None) -> str:
    """Exports a checkpoint of a run, checked and verified.

    Args:
        experiment: a run with a checkpoint.
        output: `saved_models/NAME` for the next free version, or `saved_models/NAME/VERSION`.
        step: which checkpoint; the newest when None.
    Returns:
        The folder of the version.
    Raises:
        UserError: no checkpoint, or the version is there already.
        ExportError: the export does not answer as the model does.
    """
    model, found = experiment.trained_model(step)
    task, config = experiment.task, experiment.config
    source = {"run": config.name, "step": found}
    return write_export(
        task.signatures(model),
        [model, task.tokenizer],
        output,
        requests=task.example_requests(),
        card={
            "What it is": f"A {config.model.kind} of {model.num_parameters():,} parameters for the task "
            f"{config.task.kind}, from the recipe `{config.name}`, after {found} steps.",
            "Held-out measures": _measures(experiment.workdir, found) or "None were taken.",
            "Data": {key: value for key, value in to_dict(config.data).items() if value not in ("", None)},
            "Model": to_dict(config.model),
            "Defaults of `serving_default`": to_dict(config.decoding),
        },
        files={"config.json": json.dumps({**to_dict(config), "source": source}, indent=2, ensure_ascii=False)},
    )


def published_source(path: str) -> dict[str, object] | None:
    """Which run and step an exported version came from; None where there is no export."""
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            return json.load(file).get("source")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r} is there but cannot be read as an export: {error}.") from error


def _measures(workdir: str, step: int) -> dict[str, float]:
    records = [record for record in read_log(workdir) if record["step"] == step]
    merged = {name: value for record in records for name, value in record.items()}
    return {name: value for name, value in merged.items() if name.startswith("eval_")}
