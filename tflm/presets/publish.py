"""From a trained run to `saved_models/NAME/VERSION`."""

import contextlib
import json
import os
from collections.abc import Sequence
from typing import Any

from tflm.config import to_dict
from tflm.errors import UserError
from tflm.export import write_export
from tflm.export.verify import as_written
from tflm.presets.experiment import Experiment
from tflm.presets.initial_weights import EXPORTED_TOKENIZER
from tflm.presets.search_signatures import search_signatures
from tflm.tasks.text_task import TextTask
from tflm.tasks.writer import Writer
from tflm.training import Checkpoints, read_log


def publish(
    experiment: Experiment,
    output: str,
    step: int | None = None,
    draft: Experiment | None = None,
    contrastive: bool = False,
    xla: bool = False,
    only: Sequence[str] = (),
) -> str:
    """Exports a checkpoint of a run, checked and verified.

    Args:
        experiment: a run with a checkpoint.
        output: `saved_models/NAME` for the next free version, or `saved_models/NAME/VERSION`.
        step: which checkpoint; the newest when None.
        draft, contrastive, xla: see `search_signatures`.
        only: names of the signatures that the export shall have; all when empty. A smaller graph loads sooner.
    Returns:
        The folder of the version.
    Raises:
        UserError: no checkpoint, or the version is there already, or the draft does not fit, or `only` names a
            signature that there is not.
        ExportError: the export does not answer as the model does.
    """
    model, found = experiment.trained_model(step)
    task, config = experiment.task, experiment.config
    if isinstance(task, TextTask):
        writer = Writer(task, model)
        signatures = task.signatures_of(writer)
    else:
        writer, signatures = None, task.signatures(model)
    search = search_signatures(experiment, writer, draft, contrastive, xla)
    signatures = _chosen(signatures, only)
    with as_written():
        requests = task.requests(signatures)
    card = {
        "What it is": f"A model of the kind {config.model.kind} with {model.num_parameters():,} parameters, "
        f"for the task {config.task.kind}, from the recipe `{config.name}`, after {found} steps.",
        "Held-out measures": _measures(experiment.workdir, found) or "None were taken.",
        "Data": {key: value for key, value in to_dict(config.data).items() if value not in ("", None)},
        "Model": to_dict(config.model),
    }
    if isinstance(task, TextTask):
        card["Defaults of `serving_default`"] = to_dict(config.decoding)
    return write_export(
        {**signatures, **search.signatures},
        [model, task.tokenizer, *search.variables],
        output,
        requests={name: requests[name] for name in signatures} | search.requests,
        card={**card, **search.card},
        files={
            "config.json": json.dumps(_config_file(experiment, found), indent=2, ensure_ascii=False),
            **_tokenizer_files(experiment),
        },
    )


def _chosen(signatures: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The named signatures, or all of them.

    Raises:
        UserError: there is no such signature.
    """
    if unknown := sorted(set(names) - set(signatures)):
        raise UserError(f"there is no signature {', '.join(unknown)}; this run has {', '.join(signatures)}.")
    return {name: signature for name, signature in signatures.items() if name in names or not names}


def is_published(experiment: Experiment, path: str) -> bool:
    """Whether the version in `path` is an export of this run's newest checkpoint.

    Raises:
        UserError: something else is in `path`.
    """
    if not os.path.exists(path):
        return False
    found = {}
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(path, "config.json"), encoding="utf-8") as file,
    ):
        found = json.load(file)
    step = max(Checkpoints(f"{experiment.workdir}/checkpoints", {}).steps(), default=0)
    if found != _config_file(experiment, step):
        raise UserError(
            f"{path!r} is there already and was not made from step {step} of {experiment.workdir!r}. Give another "
            "--output, remove it, or --overwrite."
        )
    return True


def _config_file(experiment: Experiment, step: int) -> dict[str, Any]:
    """The resolved config, and where the weights come from."""
    return {**to_dict(experiment.config), "source": {"run": experiment.config.name, "step": step}}


def _tokenizer_files(experiment: Experiment) -> dict[str, bytes]:
    """The vocabulary as files, for a run that begins with these weights."""
    folder, files = os.path.join(experiment.workdir, "tokenizer"), {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            files[f"{EXPORTED_TOKENIZER}/{name}"] = file.read()
    return files


def _measures(workdir: str, step: int) -> dict[str, float]:
    records = [record for record in read_log(workdir) if record["step"] == step]
    merged = {name: value for record in records for name, value in record.items()}
    return {name: value for name, value in merged.items() if name.startswith("eval_")}
