"""The folder of a run: whether an existing run is resumed, and which of its parts are made again."""

import dataclasses
import glob
import itertools
import json
import os
import shutil
from collections.abc import Iterable
from typing import Any

from tflm.config import as_begun, load_json, to_dict
from tflm.errors import UserError
from tflm.experiments.config import ExperimentConfig
from tflm.tasks import task_class
from tflm.training import Checkpoints

# Fields of `training` that may change when a run is resumed: they do not affect the results.
_FREE = (
    "log_every",
    "eval_every",
    "max_eval_batches",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "keep_best",
    "async_checkpoints",
    "early_stopping_patience",
)
FITTED = ("num_steps", "warmup_steps")
"""Fields of `training` that are lowered to fit into `minutes` when a run begins, and stay as they are."""
# What a run without a checkpoint may have left, of which nothing was trained.
BEGINNINGS = (
    "config.json",
    "tokenizer",
    "tokenizer.tmp",
    "labels.json",
    "data",
    "checkpoints",
    "log.jsonl",
    "tensorboard",
)


def is_taken_up(path: str, config: ExperimentConfig) -> bool:
    """Whether the run whose config is in `path` is resumed. One that has no checkpoint, such as a first try with a
    wrong path, is begun again with another config.

    Raises:
        UserError: another config, of a run with a checkpoint; or no config.
    """
    workdir = os.path.dirname(path)
    old = load_json(ExperimentConfig, path)
    try:
        check_same(old, config, workdir)
    except UserError:
        if has_checkpoint(workdir):
            raise
        return False
    return True


def as_begun_there(path: str, config: ExperimentConfig) -> ExperimentConfig:
    """`config` for the run whose config is in `path`: fields that are newer than that file mean what they did when it
    was written, where a checkpoint was trained so."""
    if not has_checkpoint(os.path.dirname(path)):
        return config
    old = load_json(ExperimentConfig, path)  # says what is wrong with it
    with open(path, "rb") as file:
        config = as_begun(config, json.loads(file.read()))
    if not old.training.minutes or old.training.minutes != config.training.minutes:
        return config
    fitted = {name: getattr(old.training, name) for name in FITTED}
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **fitted))


def has_checkpoint(workdir: str) -> bool:
    """Whether a run has trained as far as to its first checkpoint."""
    return bool(Checkpoints(os.path.join(workdir, "checkpoints"), {}).steps())


def sources_changed(path: str, config: ExperimentConfig) -> bool:
    """Whether a file that the data is read from was changed after the last start, when `path` was written. What was
    made of the data is then made again, unless there is a checkpoint, which belongs to it."""
    start = os.stat(path).st_mtime
    for place in _places(config):
        for found in glob.iglob(place):
            inside = (os.path.join(root, name) for root, _, names in os.walk(found) for name in names)
            for file in itertools.chain([found], inside):
                # The time of the last renaming, too: a mended copy that was put in the place of the file.
                if os.path.exists(file) and os.stat(file).st_ctime >= start:
                    return True
    return False


def _places(config: ExperimentConfig) -> list[str]:
    """Files, folders and patterns that a run reads."""
    data = config.data
    inside = [os.path.join(data.path, n) for n in (data.train_file, data.eval_file, data.test_file) if n]
    own = task_class(config.task).files(config.task)
    named = (data.path, data.eval_path, data.test_path, config.word_vectors, *own)
    return [*inside, *(place for place in named if place)]


def remove_parts(folder: str, names: Iterable[str], config: ExperimentConfig) -> None:
    """Removes files and folders of a run.

    Raises:
        UserError: the data is in one of them; then all stay.
    """
    paths = [os.path.join(folder, name) for name in names]
    for path, place in itertools.product(paths, _places(config)):
        own, read = os.path.realpath(path), os.path.realpath(place)
        if os.path.commonpath([own, read]) == own:
            raise UserError(
                f"{place!r} is in the run's own folder, and beginning again removes {path!r}. Move it elsewhere, or "
                "give another --workdir."
            )
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def check_same(old: ExperimentConfig, new: ExperimentConfig, workdir: str) -> None:
    """
    Raises:
        UserError: the configs differ in what decides about the results.
    """
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    free = {f"training.{name}" for name in _FREE} | {key for key in after if key.startswith("decoding.")}
    differing = [key for key in after if before.get(key) != after[key] and key not in free]
    if differing:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {after[key]!r}" for key in differing[:3])
        raise UserError(
            f"{workdir!r} holds a run with another config: {shown}. Give another --workdir, or --overwrite to "
            "begin again."
        )


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return flat


def vocabulary_files(folder: str) -> list[str]:
    """Names of the files that make a saved tokenizer, in order; without the folder of the checkpoint's own ones."""
    return sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))
