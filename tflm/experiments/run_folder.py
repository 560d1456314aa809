"""The folder of a run: whether an existing run is resumed, and which of its parts are made again."""

import dataclasses
import glob
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from tflm.config import as_begun, load_json, override, to_dict
from tflm.errors import UserError
from tflm.experiments.config import ExperimentConfig
from tflm.files.writing import writing
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
    "num_samples",
    "histograms",
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
    "kept.json",
    "teacher_outputs.jsonl",
    "checkpoints",
    "log.jsonl",
    "samples.jsonl",
    "energy.jsonl",
    "trackers.json",
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


def as_begun_there(path: str, config: ExperimentConfig, settings: Sequence[str] = ()) -> ExperimentConfig:
    """`config` for the run whose config is in `path`: fields that are newer than that file and not among `settings`
    mean what they did when it was written, where a checkpoint was trained so."""
    if not has_checkpoint(os.path.dirname(path)):
        return config
    old = load_json(ExperimentConfig, path)  # says what is wrong with it
    with open(path, "rb") as file:
        config = override(as_begun(config, json.loads(file.read())), settings)
    if not old.training.minutes or old.training.minutes != config.training.minutes:
        return config
    fitted = {name: getattr(old.training, name) for name in FITTED}
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **fitted))


def has_checkpoint(workdir: str) -> bool:
    """Whether a run has trained as far as to its first checkpoint."""
    return bool(Checkpoints(os.path.join(workdir, "checkpoints"), {}).steps())


def is_run(path: str) -> bool:
    """Whether a folder is that of a run, rather than of an export or a URL."""
    has_config, is_export = (
        os.path.exists(os.path.join(path, name)) for name in ("config.json", "saved_model.pb")
    )
    return has_config and not is_export


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
    places = [*task_class(config.task).files(config.task), config.word_vectors]
    for data in config.data.sources.values() or [config.data]:
        places += [os.path.join(data.path, n) for n in (data.train_file, data.eval_file, data.test_file) if n]
        places += [data.path, data.eval_path, data.test_path]
    return [place for place in places if place]


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


def share_parts(folder: str, other: str, names: Iterable[str]) -> None:
    """Makes files and folders of a run available in that of another run, where it has none of that name. Its files are
    hard links where the file system has them: nobody writes into these files, what is made again is a new one."""
    for name in names:
        source, target = os.path.join(folder, name), os.path.join(other, name)
        if not os.path.exists(source) or os.path.exists(target):
            continue
        with writing(f"the data {target!r}"):
            aside = f"{target}.tmp"
            if os.path.isdir(source):
                shutil.rmtree(aside, ignore_errors=True)
                ignored = shutil.ignore_patterns("*.lock", "*.tmp", "*.building-*")
                shutil.copytree(source, aside, copy_function=_link, ignore=ignored)
            else:
                _link(source, aside)
            os.replace(aside, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check_same(old: ExperimentConfig, new: ExperimentConfig, workdir: str) -> None:
    """
    Raises:
        UserError: the configs differ in what decides about the results.
    """
    free = {f"training.{name}" for name in _FREE}
    differing = [
        text for key, text in differences(old, new) if key not in free and not key.startswith("decoding.")
    ]
    if differing:
        raise UserError(
            f"{workdir!r} holds a run with another config: {'; '.join(differing[:3])}. Give another --workdir, or "
            "--overwrite to begin again."
        )


def differences(old: ExperimentConfig, new: ExperimentConfig) -> list[tuple[str, str]]:
    """The fields that differ, each with a text, such as ("model.num_layers", "model.num_layers was 1, is 2")."""
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    return [
        (key, f"{key} was {before.get(key)!r}, is {after[key]!r}")
        for key in after
        if before.get(key) != after[key]
    ]


def check_augmentation(config: ExperimentConfig) -> None:
    """
    Raises:
        UserError: texts are to be augmented, and the task learns from what is in the text itself.
    """
    if config.data.augment.is_on and not task_class(config.task).augmented:
        raise UserError(
            f"data.augment changes texts, and what the task {config.task.kind} learns is in the text itself, or would "
            "be wrong of a changed one. Leave data.augment out."
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
