"""The signatures of an export that are made when they are asked for: `generate_xla`, `contrastive`, and `speculative`
with a draft."""

import filecmp
import os
from typing import Any, NamedTuple

from tflm.errors import UserError
from tflm.presets.experiment import Experiment
from tflm.tasks.contrastive_signature import contrastive_requests, contrastive_signature
from tflm.tasks.speculative_signature import speculative_requests, speculative_signature
from tflm.tasks.task import TEXT
from tflm.tasks.text_signatures import compiled_signature
from tflm.tasks.writer import Writer


class SearchSignatures(NamedTuple):
    """What they add to an export."""

    signatures: dict[str, Any]
    requests: dict[str, list[dict[str, Any]]]
    variables: list[Any]
    """The draft's own, without the names that its layers give them: a run begins with the large model's weights."""
    card: dict[str, Any]


def search_signatures(
    experiment: Experiment,
    writer: Writer | None,
    draft: Experiment | None = None,
    contrastive: bool = False,
    xla: bool = False,
) -> SearchSignatures:
    """None of them, unless they are asked for.

    Args:
        experiment: the run.
        writer: its trained model as the other signatures write with it; None where the task writes no text.
        draft: a run of a smaller model of the same task with the same tokenizer; its newest checkpoint.
        contrastive: whether there is `contrastive`.
        xla: whether there is `generate_xla`, `generate` with its steps compiled.
    Raises:
        UserError: the task writes no text, or the draft does not fit or has no checkpoint.
    """
    made = SearchSignatures({}, {}, [], {})
    if draft is None and not contrastive and not xla:
        return made
    if writer is None:
        raise UserError(
            "a draft, contrastive search and generate_xla are for tasks that write text; that of this run is "
            f"{experiment.config.task.kind!r}."
        )
    task = writer.task
    if xla:
        compiled = Writer(task, writer.model, compiled=True)
        made.signatures["generate_xla"] = compiled_signature(compiled, [TEXT])
        # One request: every new shape is compiled anew, here and where the export is checked.
        made.requests["generate_xla"] = task.example_requests()["generate"][-1:]
    if contrastive:
        made.signatures["contrastive"] = contrastive_signature(writer)
        made.requests["contrastive"] = contrastive_requests()
    if draft is not None:
        check_same_text(experiment, draft)
        small, step = draft.trained_model()
        made.signatures["speculative"] = speculative_signature(writer, small)
        made.requests["speculative"] = speculative_requests(task.example_requests()["generate"])
        made.variables.extend(variable.value for variable in small.variables)
        made.card["Draft of `speculative`"] = (
            f"A model of the kind {draft.config.model.kind} with {small.num_parameters():,} parameters, from the "
            f"recipe `{draft.config.name}`, after {step} steps."
        )
    return made


def check_same_text(experiment: Experiment, draft: Experiment) -> None:
    """Raises UserError unless both runs have the same task and, to the byte, the same tokenizer."""
    kinds = experiment.config.task.kind, draft.config.task.kind
    if kinds[0] != kinds[1]:
        raise UserError(
            f"the task of the draft {draft.workdir!r} is {kinds[1]!r}, that of {experiment.workdir!r} is {kinds[0]!r}. "
            "Give a draft of the same task."
        )
    own, other = (os.path.join(run.workdir, "tokenizer") for run in (experiment, draft))
    names = sorted(os.listdir(own))
    same, _, _ = filecmp.cmpfiles(own, other, names, shallow=False)
    if same != names or sorted(os.listdir(other)) != names:
        raise UserError(
            f"the tokenizer of the draft {draft.workdir!r} is not that of {experiment.workdir!r}, so their tokens mean "
            "different things. Train the draft on the same data with the same settings of the tokenizer."
        )
