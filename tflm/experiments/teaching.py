"""The teacher of a run that is distilled: its model, and whether the student can learn from it."""

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tflm.compression import Distillation, MagnitudePruning
from tflm.compression.transfer import check_transfer
from tflm.errors import UserError
from tflm.experiments.run_folder import vocabulary_files
from tflm.experiments.store_cache import file_sha256
from tflm.tasks import task_class


def training_hooks(
    run: Any, open_fn: Callable[[str], Any], strategy: tf.distribute.Strategy | None
) -> dict[str, Any]:
    """`loss_fn` and `masks_fn` of `Trainer`, for a run that is distilled or pruned.

    Args:
        run: a `Run`.
        open_fn: opens the run in a folder.
        strategy: where it trains, and where the teacher is, too; the current one if None.
    Raises:
        UserError: the teacher is not there, or the student cannot learn from it.
    """
    config, hooks = run.config, dict[str, Any]()
    if config.distillation.reads_teacher:
        hooks["loss_fn"] = _distillation(run, open_fn, strategy or tf.distribute.get_strategy()).loss
    if config.pruning.is_on and not config.pruning.removes:
        hooks["masks_fn"] = functools.partial(
            MagnitudePruning, config=config.pruning, num_steps=config.training.num_steps
        )
    return hooks


def _distillation(run: Any, open_fn: Callable[[str], Any], strategy: tf.distribute.Strategy) -> Distillation:
    settings = run.config.distillation
    teacher = open_fn(settings.teacher)
    check_teacher(run, teacher)
    with strategy.scope():
        model, _ = teacher.trained_model(settings.checkpoint)
    return Distillation(run.task, model, settings)


def check_teacher(run: Any, teacher: Any) -> None:
    """
    Raises:
        UserError: the teacher has another task, other rows of tokens, labels or a vocabulary than the student.
    """
    path, ours, theirs = run.config.distillation.teacher, run.config, teacher.config
    texts = (
        "with distillation.outputs=true and distillation.alpha=0 they may differ" if _generates(run) else ""
    )
    if not run.task.has_soft_targets:
        raise UserError(
            f"the task {ours.task.kind!r} predicts no distribution that a student could learn from. Distil "
            "classification, tagging, question answering, language models or tasks that generate text."
        )
    if ours.task.kind != theirs.task.kind:
        raise UserError(
            f"the teacher {path!r} is for the task {theirs.task.kind!r}, and the student for {ours.task.kind!r}. Give "
            "a teacher of the same task."
        )
    if theirs.model.kind == "ngram":
        raise UserError(
            f"the teacher {path!r} is a linear classifier over n-grams; a student learns from a network. Give a "
            "teacher with a network."
        )
    if type(run.task) is not type(teacher.task):
        raise UserError(
            f"a {theirs.model.kind} reads pairs in other rows than a {ours.model.kind}, and they cannot be compared "
            f"token by token. Give both the same architecture{'; ' + texts if texts else ''}."
        )
    if ours.tokenizer != theirs.tokenizer or _vocabulary(run) != _vocabulary(teacher):
        raise UserError(
            f"the teacher {path!r} has another vocabulary ({theirs.tokenizer.kind}, {teacher.tokenizer.vocab_size:,} "
            f"tokens) than the student ({ours.tokenizer.kind}, {ours.tokenizer.vocab_size:,}); both must read the "
            f"same tokens. Leave the section tokenizer as it is in the teacher{'; ' + texts if texts else ''}."
        )
    if ours.model.max_length > theirs.model.max_length:
        raise UserError(
            f"the student reads {ours.model.max_length} tokens (model.max_length) and the teacher {path!r} "
            f"{theirs.model.max_length}. Set model.max_length={theirs.model.max_length}."
        )
    check_transfer(ours.model, theirs.model, ours.distillation)
    if run.task_class.has_labels and run.labels != teacher.labels:
        raise UserError(
            f"the teacher {path!r} knows the labels {', '.join(teacher.labels[:5])}, and the student's data has "
            f"{', '.join(run.labels[:5])}. Give a teacher that was trained on the same labels."
        )


def _generates(run: Any) -> bool:
    report = task_class(run.config.task).report(run.config.task)
    return report is not None and report.beam_search


def _vocabulary(run: Any) -> list[str]:
    """Checksums of the files of its vocabulary."""
    run.tokenizer  # noqa: B018 (makes them)
    folder = os.path.join(run.workdir, "tokenizer")
    return [file_sha256(os.path.join(folder, name)) for name in vocabulary_files(folder)]
