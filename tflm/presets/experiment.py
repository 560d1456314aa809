"""One experiment: a config and a working folder, and from them the tokenizer, the data, the task and the model.

WORKDIR/config.json     the resolved config
WORKDIR/tokenizer/      the vocabulary
WORKDIR/data/           the tokenised examples, train and eval
WORKDIR/checkpoints/    step_00000500/ ...
WORKDIR/log.jsonl, tensorboard/, loss.png, report.json
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tflm.config import load_json, save_json, to_dict
from tflm.data import Batches, TokenStore, build_store, read_examples
from tflm.errors import UserError
from tflm.export.weights import read_weights
from tflm.models import build_model
from tflm.presets.config import ExperimentConfig
from tflm.presets.initial_weights import check_fits, load_body, load_word_vectors, open_source
from tflm.presets.make_task import make_task
from tflm.tasks import ClassificationConfig, TaggingConfig, Task, find_labels, find_span_labels
from tflm.text import Tokenizer, load_tokenizer, train_tokenizer
from tflm.training import Checkpoints, Trainer
from tflm.training.low_rank import add_adapters, merged_weights

# Fields of `training` that a run may change when it is taken up again: they do not enter what is computed.
_FREE = ("log_every", "eval_every", "checkpoint_every", "keep_checkpoints", "max_eval_batches")
_BEGINNINGS = {
    "config.json",
    "tokenizer",
    "tokenizer.tmp",
    "labels.json",
    "data",
}  # of a run without data yet
_NO_TEXT = ("label", "spans", "answers")  # parts of an example that no vocabulary is learned from


class Experiment:
    """Makes each part when it is first asked for, and finds it again the next time.

    Args:
        config: what to do.
        workdir: the folder of the run.
    """

    def __init__(self, config: ExperimentConfig, workdir: str) -> None:
        self.config, self.workdir = config, workdir

    @classmethod
    def create(cls, config: ExperimentConfig, workdir: str, overwrite: bool = False) -> "Experiment":
        """Starts a run in `workdir`, or takes up the one that is there if its config is the same.

        Raises:
            UserError: a run with another config, or something else, is in the folder; or it cannot be made; or what
                a new run is to begin with is not there or does not fit.
        """
        path = os.path.join(workdir, "config.json")
        is_there = os.path.exists(path) and not overwrite
        if is_there:
            is_there = _is_taken_up(path, config)
        if config.init_from and config.word_vectors:
            raise UserError(
                f"init_from={config.init_from!r} and word_vectors={config.word_vectors!r} both say what the embedding "
                "begins with. Give one of them."
            )
        if config.word_vectors and not is_there and not os.path.exists(config.word_vectors):
            raise UserError(f"word_vectors={config.word_vectors!r} is no file.")
        if config.init_from and not is_there:
            origin, own = os.path.realpath(config.init_from), os.path.realpath(workdir)
            if os.path.commonpath([origin, own]) == own:
                raise UserError(
                    f"init_from={config.init_from!r} is in the run's own folder. Give another --workdir."
                )
            check_fits(open_source(config.init_from), config.model)
        if not is_there and os.path.isdir(workdir) and os.listdir(workdir):
            if not os.path.exists(path):
                raise UserError(f"{workdir!r} is not empty and holds no run. Give a folder of its own.")
            shutil.rmtree(workdir)
        try:
            os.makedirs(workdir, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {workdir!r}: {error.strerror}.") from error
        save_json(config, path)
        return cls(config, workdir)

    @classmethod
    def open(cls, workdir: str) -> "Experiment":
        """The run in `workdir`.

        Raises:
            UserError: there is none.
        """
        path = os.path.join(workdir, "config.json")
        if not os.path.exists(path):
            raise UserError(f"{workdir!r} holds no run: there is no config.json. `apps.train` makes one.")
        return cls(load_json(ExperimentConfig, path), workdir)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Trained on the training side, or that of the weights to begin with; kept in the run's folder."""
        folder = os.path.join(self.workdir, "tokenizer")
        if not os.path.isdir(folder):
            if self.config.init_from:
                tokenizer = load_tokenizer(open_source(self.config.init_from).tokenizer_folder)
            else:
                tokenizer = train_tokenizer(self.config.tokenizer, self._texts())
            shutil.rmtree(f"{folder}.tmp", ignore_errors=True)
            tokenizer.save(f"{folder}.tmp")
            os.replace(f"{folder}.tmp", folder)
        return load_tokenizer(folder)

    @functools.cached_property
    def task(self) -> Task:
        """What the model is for."""
        return make_task(self.config, self.tokenizer, lambda: self.labels)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of the training side in the order of their text, found once and kept in labels.json."""
        path = os.path.join(self.workdir, "labels.json")
        if not os.path.exists(path):
            task = self.config.task
            if isinstance(task, TaggingConfig):
                labels = find_span_labels(self._whole_side())
            else:
                labels = find_labels(self._whole_side(), getattr(task, "label_separator", ""))
            with open(f"{path}.tmp", "w", encoding="utf-8") as file:
                json.dump(labels, file, ensure_ascii=False)
            os.replace(f"{path}.tmp", path)
        try:
            with open(path, encoding="utf-8") as file:
                return tuple(json.load(file))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path!r} is damaged: {error}. Remove it, and it is made anew.") from error

    def batches(self, split: str, training: bool) -> Batches:
        """Batches of the split "train", "eval" or "test"."""
        config = self.config.training
        return self.task.batches(self.store(split), config.global_batch_size, config.seed, training)

    def store(self, split: str) -> TokenStore:
        """The tokenised examples of a split."""
        examples = read_examples(self.config.data, split)
        return build_store(
            examples, self.task.encode, f"{self.workdir}/data/{split}", self._fingerprint(split)
        )

    def make_model(self) -> Any:
        """A new model under the current dtype policy: a body, with the task's own head where it has one."""
        config = dataclasses.replace(self.config.model, vocab_size=self.tokenizer.vocab_size)
        return self.task.model_for(build_model(config))

    def trainer(
        self,
        strategy: tf.distribute.Strategy | None = None,
        note_fn: Callable[[str], None] | None = None,
    ) -> Trainer:
        """A trainer for a new model, which has the weights of `init_from` where there is no checkpoint yet.

        Args:
            strategy: where to run; the default strategy when None.
            note_fn: called with what is to be said of those weights.
        """
        config = self.config
        trainer = Trainer(
            self.make_model, self.task, config.training, self.workdir, strategy, config.fine_tuning
        )
        if not trainer.checkpoints.steps():
            report = self._give_first_weights(trainer.model)
            if report and note_fn is not None:
                note_fn(report)
        return trainer

    def trained_model(self, step: int | None = None) -> tuple[Any, int]:
        """The model in float32 with the weights of a checkpoint, the newest by default, and its step; low-rank
        adapters are merged into it.

        Raises:
            UserError: there is no checkpoint.
        """
        policy, tuning = keras.config.dtype_policy(), self.config.fine_tuning
        keras.config.set_dtype_policy("float32")
        try:
            model = trained = self.make_model()
            if tuning.lora_rank:
                trained = self.make_model()
                add_adapters(trained, tuning.lora_rank, tuning.lora_alpha)
        finally:
            keras.config.set_dtype_policy(policy)
        weights = {f"model/{variable.path}": variable.value for variable in trained.weights}
        checkpoints = Checkpoints(f"{self.workdir}/checkpoints", weights)
        found = checkpoints.restore(step, partial=True)
        if found is None:
            raise UserError(
                f"{self.workdir!r} has no checkpoint yet. `apps.train --workdir={self.workdir}` first."
            )
        if trained is not model:
            merged = merged_weights(trained)
            for variable in model.weights:
                variable.assign(merged[variable.path])
        return model, found

    def _give_first_weights(self, model: Any) -> str:
        config = self.config
        if config.word_vectors:
            return load_word_vectors(model, config.word_vectors, self.tokenizer, config.training.seed)
        if not config.init_from:
            return ""
        report = load_body(model, config.init_from, self._initial_weights())
        if self.tokenizer.config != config.tokenizer:
            report += f"\nthe vocabulary is theirs ({_describe(self.tokenizer)}), not that of the recipe."
        return report

    def _initial_weights(self) -> dict[str, np.ndarray]:
        source = open_source(self.config.init_from)
        if not source.is_run:
            return read_weights(source.folder)
        return merged_weights(Experiment.open(source.folder).trained_model()[0])

    def _whole_side(self) -> Iterable[dict[str, str]]:
        """The training side, whatever part of it trains: of it are the vocabulary and the labels."""
        return read_examples(dataclasses.replace(self.config.data, train_fraction=1.0), "train")

    def _texts(self) -> Iterator[str]:
        for example in self._whole_side():
            if "messages" in example:
                yield from (message["content"] for message in json.loads(example["messages"]))
            else:
                yield from (text for key, text in example.items() if key not in _NO_TEXT)

    def _fingerprint(self, split: str) -> str:
        """Stands for what a store depends on: data, tokenizer, task, lengths."""
        config = to_dict(self.config)
        if isinstance(self.config.task, ClassificationConfig | TaggingConfig):
            config["task"]["labels"] = list(self.labels)
        parts: list[Any] = [
            split,
            config["data"],
            config["tokenizer"],
            config["task"],
            config["model"]["max_length"],
        ]
        folder = os.path.join(self.workdir, "tokenizer")
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        word_list = getattr(self.config.task, "word_list", "")
        for path in [*paths, *([word_list] if word_list else [])]:
            with open(path, "rb") as file:
                parts.append(hashlib.sha256(file.read()).hexdigest())
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_taken_up(path: str, config: ExperimentConfig) -> bool:
    """Whether the run whose config is in `path` goes on. One that has not yet read its data, such as a first try with a
    wrong path, binds nobody: with another config it is begun anew. Nothing but its own beginnings may be there.

    Raises:
        UserError: another config, of a run that has begun; or no config.
    """
    workdir = os.path.dirname(path)
    old = load_json(ExperimentConfig, path)
    try:
        _check_same(old, config, workdir)
    except UserError:
        data = os.path.join(workdir, "data")
        has_data = os.path.isdir(data) and bool(os.listdir(data))
        if has_data or not set(os.listdir(workdir)) <= _BEGINNINGS:
            raise
        return False
    return True


def _check_same(old: ExperimentConfig, new: ExperimentConfig, workdir: str) -> None:
    before, after = _flat(to_dict(old)), _flat(to_dict(new))
    free = {f"training.{name}" for name in _FREE} | {key for key in after if key.startswith("decoding.")}
    differing = [key for key in after if before.get(key) != after[key] and key not in free]
    if differing:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {after[key]!r}" for key in differing[:3])
        raise UserError(
            f"{workdir!r} holds a run with another config: {shown}. Give another --workdir, or --overwrite to "
            "begin again."
        )


def _describe(tokenizer: Tokenizer) -> str:
    names = ", ".join(tokenizer.special_tokens) or "none"
    return f"{tokenizer.config.kind}, {tokenizer.vocab_size:,} tokens, special ones: {names}"


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return flat
