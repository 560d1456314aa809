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
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tflm.config import load_json, save_json, to_dict
from tflm.data import Batches, DataConfig, TokenStore, build_store, read_examples
from tflm.decoding import DecodingConfig
from tflm.errors import UserError
from tflm.models import LanguageModel, ModelConfig, TransformerDecoderConfig, build_model
from tflm.tasks import LanguageModeling, LanguageModelingConfig, Pairs, PairsConfig, TaskConfig, TextTask
from tflm.text import Tokenizer, TokenizerConfig, load_tokenizer, train_tokenizer
from tflm.training import Checkpoints, Trainer, TrainingConfig

# Fields of `training` that a run may change when it is taken up again: they do not enter what is computed.
_FREE = ("log_every", "eval_every", "checkpoint_every", "keep_checkpoints", "max_eval_batches")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a result."""

    name: str
    """The preset's name, or your own."""
    data: DataConfig
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    task: TaskConfig = dataclasses.field(default_factory=LanguageModelingConfig)
    model: ModelConfig = dataclasses.field(default_factory=TransformerDecoderConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    """What an export uses when a request sets nothing."""


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
            UserError: a run with another config, or something else, is in the folder; or it cannot be made.
        """
        path = os.path.join(workdir, "config.json")
        if os.path.exists(path) and not overwrite:
            _check_same(load_json(ExperimentConfig, path), config, workdir)
        elif os.path.isdir(workdir) and os.listdir(workdir):
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
        """Trained on the training side, or loaded."""
        folder = os.path.join(self.workdir, "tokenizer")
        if not os.path.isdir(folder):
            tokenizer = train_tokenizer(self.config.tokenizer, self._texts())
            shutil.rmtree(f"{folder}.tmp", ignore_errors=True)
            tokenizer.save(f"{folder}.tmp")
            os.replace(f"{folder}.tmp", folder)
        return load_tokenizer(folder)

    @functools.cached_property
    def task(self) -> TextTask:
        """What the model is for."""
        config, arguments = (
            self.config.task,
            (self.tokenizer, self.config.model.max_length, self.config.decoding),
        )
        if isinstance(config, PairsConfig):
            return Pairs(config, *arguments)
        return LanguageModeling(config, *arguments)

    def batches(self, split: str, training: bool) -> Batches:
        """Batches of the split "train" or "eval"."""
        config = self.config.training
        return self.task.batches(self.store(split), config.global_batch_size, config.seed, training)

    def store(self, split: str) -> TokenStore:
        """The tokenised examples of a split."""
        examples = read_examples(self.config.data, split)
        return build_store(
            examples, self.task.encode, f"{self.workdir}/data/{split}", self._fingerprint(split)
        )

    def has_eval(self) -> bool:
        """Whether there is a held-out side."""
        return bool(self.config.data.eval_path) or self.config.data.eval_fraction > 0

    def make_model(self) -> LanguageModel:
        """A new model under the current dtype policy."""
        return build_model(dataclasses.replace(self.config.model, vocab_size=self.tokenizer.vocab_size))

    def trainer(self, strategy: tf.distribute.Strategy | None = None) -> Trainer:
        """A trainer for a new model."""
        return Trainer(self.make_model, self.task, self.config.training, self.workdir, strategy)

    def trained_model(self, step: int | None = None) -> tuple[LanguageModel, int]:
        """The model in float32 with the weights of a checkpoint, the newest by default, and its step.

        Raises:
            UserError: there is no checkpoint.
        """
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")
        try:
            model = self.make_model()
        finally:
            keras.config.set_dtype_policy(policy)
        weights = {f"model/{variable.path}": variable.value for variable in model.trainable_variables}
        checkpoints = Checkpoints(f"{self.workdir}/checkpoints", weights)
        found = checkpoints.restore(step, partial=True)
        if found is None:
            raise UserError(
                f"{self.workdir!r} has no checkpoint yet. `apps.train --workdir={self.workdir}` first."
            )
        return model, found

    def _texts(self) -> Iterator[str]:
        for example in read_examples(self.config.data, "train"):
            yield from example.values()

    def _fingerprint(self, split: str) -> str:
        """Stands for what a store depends on: data, tokenizer, task, lengths."""
        config = to_dict(self.config)
        parts: list[Any] = [
            split,
            config["data"],
            config["tokenizer"],
            config["task"],
            config["model"]["max_length"],
        ]
        folder = os.path.join(self.workdir, "tokenizer")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                parts.append(hashlib.sha256(file.read()).hexdigest())
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return flat


Preset = Callable[[], ExperimentConfig]
