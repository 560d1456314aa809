"""What a new run begins with: the weights of another run or export, what is left of a pruned model, word vectors."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from tflm.compression.importance import row_importance
from tflm.compression.structure import Kept, choose_parts, smaller_weights
from tflm.config import to_dict
from tflm.errors import UserError
from tflm.experiments.warm_start import Source, load_body, load_word_vectors, open_source
from tflm.export.weights import read_weights
from tflm.files.writing import whole_file, writing
from tflm.text import Tokenizer
from tflm.training import Checkpoints
from tflm.training.checkpoint_files import stored_weights
from tflm.training.low_rank import merged_weights

KEPT_FILE = "kept.json"
"""In the folder of a run that was made by removing heads, units or layers: what stayed."""
OpenFn = Callable[[str], Any]
"""Opens the run in a folder."""


def give_first_weights(run: Any, model: Any, open_fn: OpenFn) -> str:
    """Gives a new model what its run begins with.

    Args:
        run: a `Run`.
        model: with its variables made.
        open_fn: opens another run.
    Returns:
        A line for the user, or "".
    Raises:
        UserError: the weights are not there, or do not fit.
    """
    config = run.config
    if config.pruning.is_on:
        return _give_pruned_weights(run, model, open_fn(config.pruning.source))
    if config.word_vectors:
        return load_word_vectors(model, config.word_vectors, run.tokenizer, config.training.seed)
    if not config.init_from:
        return ""
    report = load_body(model, config.init_from, _initial_weights(config.init_from, open_fn))
    if run.tokenizer.config != config.tokenizer:
        report += f"\nthe vocabulary is theirs ({_describe(run.tokenizer)}), not that of the recipe."
    return report


def vocabulary_source(config: Any) -> Source | None:
    """The run or export whose vocabulary a new run takes; None where it trains its own.

    Raises:
        UserError: it is not there.
    """
    settings = config.distillation
    if config.init_from or config.pruning.is_on:
        field = "init_from" if config.init_from else "pruning.source"
        return open_source(config.init_from or config.pruning.source, field)
    if not settings.is_on or "://" in settings.teacher:
        return None
    teacher = open_source(settings.teacher, "distillation.teacher")
    is_same = teacher.config.get("tokenizer") == to_dict(config.tokenizer)
    return teacher if settings.reads_teacher or is_same else None


def _give_pruned_weights(run: Any, model: Any, source: Any) -> str:
    """All weights of the source, or what stays of them."""
    pruning = run.config.pruning
    large, step = source.trained_model(pruning.checkpoint)
    weights: Mapping[str, Any] = {variable.path: variable for variable in large.weights}
    if pruning.removes:
        weights = smaller_weights(weights, _kept_parts(run, source, large), source.config.model)
    for variable in model.weights:
        found = list(weights[variable.path].shape) if variable.path in weights else "absent"
        if found != list(variable.shape):
            raise UserError(
                f"the weights of pruning.source={pruning.source!r} do not fit this model: {variable.path} is {found} "
                f"there and {list(variable.shape)} here. Leave the sizes of the model to `tflm compress`."
            )
    for variable in model.weights:
        variable.assign(weights[variable.path])
    before, after = (sum(int(each.numpy().size) for each in own.weights) for own in (large, model))
    changed = f", {before:,} parameters before and {after:,} after" if pruning.removes else ""
    return f"initial weights from {pruning.source}, step {step:,}{changed}"


def _kept_parts(run: Any, source: Any, large: Any) -> dict[str, Kept]:
    """Chosen by their importance once, and kept in kept.json."""
    path = os.path.join(run.workdir, KEPT_FILE)
    if not os.path.exists(path):
        pruning, body = run.config.pruning, getattr(large, "body", large)
        batches = source.batches("train", training=True)
        importance = row_importance(source.task, large, batches, pruning.batches)
        stacks = [f"{body.name}/{group.layers}" for group in body.layer_groups]
        models = source.config.model, run.config.model
        kept = {stack: dataclasses.asdict(choose_parts(importance, stack, *models)) for stack in stacks}
        with (
            writing(f"the choice of parts {path!r}"),
            whole_file(path) as aside,
            open(aside, "w", encoding="utf-8") as file,
        ):
            json.dump(kept, file, indent=1)
            file.write("\n")
    try:
        with open(path, encoding="utf-8") as file:
            return {stack: Kept(**parts) for stack, parts in json.load(file).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path!r} is damaged: {error}. Remove it, and it is made again.") from error


def _initial_weights(path: str, open_fn: OpenFn) -> Mapping[str, Any]:
    source = open_source(path)
    if not source.is_run:
        return read_weights(source.folder)
    run = open_fn(source.folder)
    checkpoints = Checkpoints(f"{source.folder}/checkpoints", {})
    if not run.config.fine_tuning.lora_rank and checkpoints.steps():
        with contextlib.suppress(UserError):  # damaged: an earlier one may not be
            return stored_weights(checkpoints.path(checkpoints.steps()[-1]))
    return merged_weights(run.trained_model()[0])


def _describe(tokenizer: Tokenizer) -> str:
    names = ", ".join(tokenizer.special_tokens) or "none"
    return f"{tokenizer.config.kind}, {tokenizer.vocab_size:,} tokens, special ones: {names}"
