"""From a trained run to `saved_models/NAME/VERSION`, with the signatures of contrastive and speculative search."""

import contextlib
import filecmp
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from tflm.config import to_dict
from tflm.errors import UserError
from tflm.experiments.run import Run
from tflm.experiments.run_folder import vocabulary_files
from tflm.experiments.run_record import masked_counts, masked_text
from tflm.experiments.warm_start import EXPORTED_ORIGIN, EXPORTED_TOKENIZER, origin_of
from tflm.export import write_export
from tflm.export.quantize import (
    SCHEMES,
    QuantizedWeight,
    assign_rounded,
    describe_weights,
    quantized_weights,
    replace_weights,
)
from tflm.export.verify import answers_in_memory, arrays_of_requests, as_written
from tflm.export.versions import check_free
from tflm.tasks.signatures.contrastive import contrastive_requests, contrastive_signature
from tflm.tasks.signatures.explanations import SIGNATURES
from tflm.tasks.signatures.generate import compiled_signature
from tflm.tasks.signatures.speculative import speculative_requests, speculative_signature
from tflm.tasks.signatures.writer import Writer
from tflm.tasks.task import TEXT
from tflm.text.source_files import FOLDER, read_source_files
from tflm.training import Checkpoints, read_log
from tflm.training.stored_model import CheckpointChoice, describe_choice

WEIGHTS = ("float32", "bfloat16", *SCHEMES)
"""Formats in which an export stores its weights."""


def publish(
    experiment: Run,
    output: str,
    step: CheckpointChoice = None,
    draft: Run | None = None,
    contrastive: bool = False,
    xla: bool = False,
    only: Sequence[str] = (),
    weights: str = "float32",
    explain: bool = False,
    quantize_embedding: bool = True,
) -> str:
    """Exports a checkpoint of a run, checked and verified.

    Args:
        experiment: a run with a checkpoint.
        output: `saved_models/NAME` for the next free version, or `saved_models/NAME/VERSION`.
        step: which checkpoint: its step, best, average or ema; the newest when None.
        draft, contrastive, xla: see `search_signatures`.
        only: names of the signatures to export; all when empty. A smaller graph loads sooner.
        weights: one of `WEIGHTS`: how weights are stored. With int8 and int4 the large matrices are quantized (see
            `quantized_weights`), and the export must give the outputs of a model in float32 that has the values of
            the quantized ones.
        explain: adds the signatures `attribute` and, of a Transformer, `attention`; those that `only` names are
            also added.
        quantize_embedding: with int8 and int4, whether the embedding and the output layer are quantized too.
    Returns:
        The folder of the version.
    Raises:
        UserError: no checkpoint, or the version is there already, or the draft does not fit, or `only` names a
            signature that there is not, or `weights` an unknown format.
        ExportError: the export does not answer as the model does.
    """
    check_free(output)
    _check_weights(weights)
    model, found = experiment.trained_model(step, dtype="bfloat16" if weights == "bfloat16" else "float32")
    task, config, num_parameters = experiment.task, experiment.config, model.num_parameters()
    about = describe_choice(f"{experiment.workdir}/checkpoints", step)
    measures = {} if step in ("average", "ema") else _measures(experiment.workdir, found)
    quantized: list[QuantizedWeight] = []
    if weights in SCHEMES:
        quantized = quantized_weights(model, weights, quantize_embedding)
        assign_rounded(quantized)
    made = _signatures(experiment, model, draft, contrastive, xla, only, explain)
    with as_written():
        requests = made.requests(task)
    requests = {name: requests[name] for name in made.all}
    expected = None
    if quantized:
        expected = answers_in_memory(made.all, arrays_of_requests(made.all, requests))
        replace_weights(quantized)
        made = _signatures(experiment, model, draft, contrastive, xla, only, explain)
    card: dict[str, Any] = {
        "What it is": f"A model of the kind {config.model.kind} with {num_parameters:,} parameters, "
        f"for the task {config.task.kind}, from the recipe `{config.name}`, after {found} steps"
        f"{f': {about}' if about else ''}.",
        "Held-out measures": measures or "None were taken.",
        "Data": {key: value for key, value in to_dict(config.data).items() if value not in ("", None)},
        "Model": to_dict(config.model),
    }
    if masked := masked_counts(experiment.workdir):
        card["Personal data masked in the training texts"] = {
            split: masked_text(counts) for split, counts in masked.items()
        }
    if made.writer is not None:
        card["Defaults of `serving_default`"] = to_dict(config.decoding)
    if quantized:
        card["Weights"] = describe_weights(quantized, weights, num_parameters)
    about_run = _config_file(experiment, found, about, weights if quantized else "")
    return write_export(
        made.all,
        [model, task.tokenizer, *made.search.variables],
        output,
        requests=requests,
        card={**card, **made.search.card},
        files={
            "config.json": json.dumps(about_run, indent=2, ensure_ascii=False),
            **_tokenizer_files(experiment),
        },
        expected=expected,
    )


class _Signatures(NamedTuple):
    own: dict[str, Any]
    """Of the task, which are exported."""
    left_out: dict[str, Any]
    """Of the task, which may give what an exported one takes."""
    explanations: dict[str, Any]
    search: "SearchSignatures"
    writer: Writer | None

    @property
    def all(self) -> dict[str, Any]:
        return {**self.own, **self.explanations, **self.search.signatures}

    def requests(self, task: Any) -> dict[str, list[dict[str, Any]]]:
        """Requests for each of `all`, and perhaps for others."""
        found = task.requests(self.own)
        if set(self.own) - set(found):
            found = task.requests({**self.own, **self.left_out})
        return found | (task.explanation_requests() if self.explanations else {}) | self.search.requests


def _signatures(
    experiment: Run,
    model: Any,
    draft: Run | None,
    contrastive: bool,
    xla: bool,
    only: Sequence[str],
    explain: bool,
) -> _Signatures:
    """What is exported of a model."""
    task, asked = experiment.task, set(only) & set(SIGNATURES)
    signatures, writer = task.export_signatures(model, only)
    search = search_signatures(experiment, writer, draft, contrastive, xla)
    explanations = task.explanations(model, writer) if explain or asked else {}
    if explain and not explanations:
        raise UserError(
            f"the task of {experiment.workdir!r}, {experiment.config.task.kind!r}, has no explanations. Leave out "
            "--explain."
        )
    if unknown := sorted(set(only) - {*signatures, *explanations}):
        known = ", ".join(task.signatures(model))
        raise UserError(f"there is no signature {', '.join(unknown)}; this run has {known}.")
    own = {name: each for name, each in signatures.items() if name in only or not only}
    left_out = {name: each for name, each in signatures.items() if name not in own}
    kept = {name: each for name, each in explanations.items() if explain or name in asked}
    return _Signatures(own, left_out, kept, search, writer)


def _check_weights(weights: str) -> None:
    if weights not in WEIGHTS:
        raise UserError(f"weights are stored as {', '.join(WEIGHTS)}; got {weights!r}.")


def is_published(experiment: Run, path: str) -> bool:
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


def _config_file(experiment: Run, step: int, about: str = "", weights: str = "") -> dict[str, Any]:
    """The resolved config, where the weights come from, and how they are stored if they are quantized."""
    source = {"run": experiment.config.name, "step": step, **({"checkpoint": about} if about else {})}
    if weights:
        source["weights"] = weights
    return {**to_dict(experiment.config), "source": source}


def _tokenizer_files(experiment: Run) -> dict[str, bytes]:
    """For a run that begins with these weights: the vocabulary, and what is known of a published checkpoint."""
    folder, files = os.path.join(experiment.workdir, "tokenizer"), {}
    for name in vocabulary_files(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[f"{EXPORTED_TOKENIZER}/{name}"] = file.read()
    for name, content in read_source_files(folder).items():
        files[f"{EXPORTED_TOKENIZER}/{FOLDER}/{name}"] = content
    if origin := origin_of(experiment.workdir):
        files[EXPORTED_ORIGIN] = json.dumps(origin, indent=2, ensure_ascii=False).encode()
    return files


def _measures(workdir: str, step: int) -> dict[str, float]:
    records = [record for record in read_log(workdir) if record["step"] == step]
    merged = {name: value for record in records for name, value in record.items()}
    return {name: value for name, value in merged.items() if name.startswith("eval_")}


class SearchSignatures(NamedTuple):
    """What they add to an export."""

    signatures: dict[str, Any]
    requests: dict[str, list[dict[str, Any]]]
    variables: list[Any]
    """The draft's own, without the names that its layers give them: a run begins with the large model's weights."""
    card: dict[str, Any]


def search_signatures(
    experiment: Run,
    writer: Writer | None,
    draft: Run | None = None,
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
        # One request: every new shape is compiled, here and where the export is checked.
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


def check_same_text(experiment: Run, draft: Run) -> None:
    """Raises UserError unless both runs have the same task and, to the byte, the same tokenizer."""
    kinds = experiment.config.task.kind, draft.config.task.kind
    if kinds[0] != kinds[1]:
        raise UserError(
            f"the task of the draft {draft.workdir!r} is {kinds[1]!r}, that of {experiment.workdir!r} is {kinds[0]!r}. "
            "Give a draft of the same task."
        )
    own, other = (os.path.join(run.workdir, "tokenizer") for run in (experiment, draft))
    names = vocabulary_files(own)
    same, _, _ = filecmp.cmpfiles(own, other, names, shallow=False)
    if same != names or vocabulary_files(other) != names:
        raise UserError(
            f"the tokenizer of the draft {draft.workdir!r} is not that of {experiment.workdir!r}, so their tokens mean "
            "different things. Train the draft on the same data with the same settings of the tokenizer."
        )
