"""A run: a config and a working folder, and from them the tokenizer, the data, the task and the model.

WORKDIR/config.json     the resolved config
WORKDIR/tokenizer/      the vocabulary
WORKDIR/data/           the tokenised examples, train and eval; their files are shared with the cache of stores
WORKDIR/checkpoints/    step_00000500/ ...
WORKDIR/log.jsonl, tensorboard/, loss.png, report.json, report.html
WORKDIR/starts.jsonl, samples.jsonl, energy.jsonl, bad_steps.jsonl
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tflm.config import from_dict, load_json, save_json, to_dict
from tflm.data import (
    Batches,
    DataConfig,
    TokenStore,
    UnknownLabelError,
    build_store,
    check_labels,
    read_examples,
)
from tflm.data.augmentation import AugmentedExamples
from tflm.data.batching.eval_loop import EvalBatches
from tflm.data.personal.patterns import plugin_files
from tflm.data.store_views import JoinedStore
from tflm.data.token_store import finished_store
from tflm.errors import UserError
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.first_weights import give_first_weights, vocabulary_source
from tflm.experiments.run_folder import (
    BEGINNINGS,
    as_begun_there,
    check_augmentation,
    check_same,
    has_checkpoint,
    is_taken_up,
    remove_parts,
    sources_changed,
    vocabulary_files,
)
from tflm.experiments.store_cache import build_options, file_sha256, store_key
from tflm.experiments.taught_examples import TaughtExamples, outputs_path
from tflm.experiments.teaching import training_hooks
from tflm.experiments.warm_start import check_beginning
from tflm.files.writing import whole_file, writing
from tflm.models import build_model, model_class
from tflm.tasks import Task, TaskInputs, build_task, task_class
from tflm.text import Tokenizer, load_tokenizer, train_tokenizer
from tflm.training import TRAINING_LOCK, Checkpoints, Trainer, TrainingConfig, training_lock
from tflm.training.low_rank import add_adapters, give_merged_weights
from tflm.training.stored_model import CheckpointChoice, check_choice, load_weights

_NO_TEXT = ("label", "spans", "answers")  # parts of an example that no vocabulary is learned from


class Run:
    """Makes each part when it is first asked for, and finds it again the next time.

    Args:
        config: what to do.
        workdir: the folder of the run.
    """

    def __init__(self, config: ExperimentConfig, workdir: str) -> None:
        self.config, self.workdir = config, workdir

    @classmethod
    def begin(
        cls, config: ExperimentConfig, workdir: str, overwrite: bool = False, settings: Sequence[str] = ()
    ) -> Self:
        """Starts a run in `workdir`, or takes up the one that is there if its config is the same. One that has no
        checkpoint yet, such as a first try with a wrong setting, is begun again with another config, too.

        Args:
            config: what to do.
            workdir: a folder, made if need be.
            overwrite: whether to remove the run that is there.
            settings: those that were applied to the config: an older run must have been trained with them.
        Raises:
            UserError: a trained run with another config, or something else, is in the folder; another process trains
                in it; or it cannot be made; or what a new run is to begin with is not there or does not fit.
        """
        check_augmentation(config)
        with training_lock(workdir):
            return cls._begin(config, workdir, overwrite, settings)

    @classmethod
    def _begin(cls, config: ExperimentConfig, workdir: str, overwrite: bool, settings: Sequence[str]) -> Self:
        path = os.path.join(workdir, "config.json")
        is_there = os.path.exists(path) and not overwrite
        begun = is_there
        if is_there:
            config = as_begun_there(path, config, settings)
            is_there = is_taken_up(path, config)
        check_beginning(config.init_from, config.word_vectors, config.model, workdir, is_there)
        present = set(os.listdir(workdir)) - {TRAINING_LOCK}
        if not is_there and present:
            if not os.path.exists(path):
                raise UserError(f"{workdir!r} is not empty and holds no run. Give a folder of its own.")
            # Without --overwrite, files of the user's stay.
            remove_parts(workdir, present & set(BEGINNINGS) if begun else present, config)
        elif begun and not has_checkpoint(workdir) and sources_changed(path, config):
            remove_parts(workdir, present & {"tokenizer", "labels.json", "data"}, config)
        with writing(f"the run's config {path!r}"):
            save_json(config, path)
        return cls(config, workdir)

    @classmethod
    def join(cls, config: ExperimentConfig, workdir: str, settings: Sequence[str] = ()) -> Self:
        """The run that another worker has begun in `workdir`.

        Raises:
            UserError: it is not there, or has another config.
        """
        path = os.path.join(workdir, "config.json")
        if not os.path.exists(path):
            raise UserError(
                f"worker 0 has begun the run, and {workdir!r} holds none here. All workers need one --workdir, on a "
                "file system that they share."
            )
        run = cls.open(workdir)
        check_same(run.config, as_begun_there(path, config, settings), workdir)
        return run

    @classmethod
    def open(cls, workdir: str) -> Self:
        """The run in `workdir`.

        Raises:
            UserError: `workdir` holds no run.
        """
        path = os.path.join(workdir, "config.json")
        if not os.path.exists(path):
            raise UserError(f"{workdir!r} holds no run: there is no config.json. `tflm train` makes one.")
        return cls(load_json(ExperimentConfig, path), workdir)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Trained on the training side, or that of the weights to begin with; kept in the run's folder."""
        folder = os.path.join(self.workdir, "tokenizer")
        if not os.path.isdir(folder):
            if source := vocabulary_source(self.config):
                tokenizer = load_tokenizer(source.tokenizer_folder)
            else:
                tokenizer = train_tokenizer(self.config.tokenizer, self._texts())
            shutil.rmtree(f"{folder}.tmp", ignore_errors=True)
            try:
                with writing(f"the vocabulary {folder!r}"):
                    tokenizer.save(f"{folder}.tmp")
                    os.replace(f"{folder}.tmp", folder)
            finally:
                shutil.rmtree(f"{folder}.tmp", ignore_errors=True)
        return load_tokenizer(folder)

    @functools.cached_property
    def task(self) -> Task:
        """Features, loss and signatures."""
        config = self.config
        return build_task(
            config.task, TaskInputs(self.tokenizer, config.model, config.decoding, lambda: self.labels)
        )

    def check_labels(self, examples: Iterable[tuple[str, dict[str, str]]], known: Sequence[str]) -> None:
        """Checks the labels of examples, each with its place, of a task that has labels.

        Raises:
            UnknownLabelError: one is not among the `known`.
        """
        if self.task_class.has_labels:
            check_labels(examples, known, self.task_class.label_separator(self.config.task))

    @property
    def task_class(self) -> type[Task]:
        """The class of the task."""
        return task_class(self.config.task)

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of the training side in the order of their text, found once and kept in labels.json."""
        path = os.path.join(self.workdir, "labels.json")
        if not os.path.exists(path):
            labels = self.task_class.find_labels(self.config.task, self._whole_side())
            with (
                writing(f"the labels {path!r}"),
                whole_file(path) as aside,
                open(aside, "w", encoding="utf-8") as file,
            ):
                json.dump(labels, file, ensure_ascii=False)
        try:
            with open(path, encoding="utf-8") as file:
                return tuple(json.load(file))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path!r} is damaged: {error}. Remove it, and it is made again.") from error

    def batches(self, split: str, training: bool) -> Batches:
        """Batches of the split "train", "eval" or "test"."""
        return self._batches_of(self.store(split), training)

    def eval_batches(self, split: str) -> EvalBatches:
        """Evaluation batches of a split; of a mixture those of each source that has the split, by its name."""
        stores = self._stores(split)
        if not stores:
            return self.batches(split, training=False)
        return {name: self._batches_of(store, training=False) for name, store in stores.items()}

    def _batches_of(self, store: TokenStore, training: bool) -> Batches:
        config = self.config.training
        return self.task.batches(store, config.global_batch_size, config.seed, training)

    def store(self, split: str) -> TokenStore:
        """The tokenised examples of a split: of this folder, or taken from the cache of stores, or made; see
        `tflm.experiments.store_cache`. Those of a mixture are joined."""
        stores = self._stores(split)
        if not stores:
            return self._store_of(self.config.data, f"{self.workdir}/data/{split}", split)
        weights = self.config.data.weights
        return JoinedStore(stores, {name: weights[name] for name in stores})

    def _stores(self, split: str) -> dict[str, TokenStore]:
        """The store of each source of a mixture that has the split; empty for a single source."""
        return {
            name: self._store_of(source, f"{self.workdir}/data/{split}/{name}", split)
            for name, source in self.config.data.sources.items()
            if source.has_split(split)
        }

    def _store_of(self, data: DataConfig, folder: str, split: str) -> TokenStore:
        examples = read_examples(data, split)
        encode_fn, pad_id = self.task.encode, self.tokenizer.pad_id  # makes the files of the fingerprint
        fingerprint = self._fingerprint(data, split)
        found = finished_store(folder, fingerprint)
        if found is not None:
            return found
        options = build_options(
            lambda: self._cache_key(data, split),
            functools.partial(_encode_fn_of, to_dict(self.config), self.workdir),
        )
        if data.mask_personal:
            options = dataclasses.replace(options, masked_fn=lambda: examples.report.masked)
        changed: Iterable[dict[str, str]] = examples
        if split == "train" and self.config.distillation.outputs:
            changed = TaughtExamples(examples, self.workdir)
        if split == "train" and data.augment.is_on:
            changed = AugmentedExamples(changed, data.augment, self.task_class.augmented)
        try:
            return build_store(changed, encode_fn, folder, fingerprint, pad_id, options)
        except UnknownLabelError:
            self.check_labels(examples.with_places(), self.labels)
            raise

    def make_model(self) -> Any:
        """A new model under the current dtype policy: a body, with the task's own head where it has one."""
        tokenizer = self.tokenizer
        config = dataclasses.replace(
            self.config.model, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id
        )
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
        trainer = self.new_trainer(self.config.training, self.workdir, strategy)
        if not trainer.checkpoints.steps():
            report = give_first_weights(self, trainer.model, type(self).open)
            for line in (report, self.task.start(trainer.model, self.store("train"))):
                if line and note_fn is not None:
                    note_fn(line)
        trainer.before_evaluation = lambda: self.task.calibrate(trainer.model, self.store("train"))
        return trainer

    def new_trainer(
        self, training: TrainingConfig, folder: str, strategy: tf.distribute.Strategy | None
    ) -> Trainer:
        """A trainer for a new model, with a teacher or masks where the run has such.

        Args:
            training: in place of that of the config, for a trial.
            folder: of checkpoints and logs.
            strategy: where to run; the default strategy when None.
        """
        hooks = training_hooks(self, type(self).open, strategy)
        return Trainer(
            self.make_model, self.task, training, folder, strategy, self.config.fine_tuning, **hooks
        )

    def trained_model(self, step: CheckpointChoice = None, dtype: str = "float32") -> tuple[Any, int]:
        """The model with the weights of a checkpoint, the newest by default, and its step; low-rank
        adapters are merged into it.

        Args:
            step: which checkpoint: its step, best, average or ema (see `load_weights`); the newest when None.
            dtype: float32, or bfloat16 for weights and activations; norms, softmax and log-probabilities stay float32.
        Raises:
            UserError: there is no checkpoint.
        """
        model, found = self.adapted_model(step)
        if self.config.fine_tuning.lora_rank:
            adapted, model = model, self._make_in("float32")
            give_merged_weights(adapted, model)
        if dtype != "float32":
            converted = self._make_in(dtype)
            for variable, value in zip(converted.weights, model.weights, strict=True):
                variable.assign(tf.cast(value, variable.dtype))
            model = converted
        return model, found

    def adapted_model(self, step: CheckpointChoice = None) -> tuple[Any, int]:
        """As `trained_model`, in float32, with low-rank adapters apart, where the run has such."""
        check_choice(step)
        if not Checkpoints(f"{self.workdir}/checkpoints", {}).steps():
            raise UserError(
                f"{self.workdir!r} has no checkpoint yet. `tflm train --workdir={self.workdir}` first."
            )
        model, tuning = self._make_in("float32"), self.config.fine_tuning
        if tuning.lora_rank:
            add_adapters(model, tuning.lora_rank, tuning.lora_alpha)
        return model, load_weights(f"{self.workdir}/checkpoints", model, step)

    def _make_in(self, dtype: str) -> Any:
        """A new model with weights and activations in a dtype."""
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            return self.make_model()
        finally:
            keras.config.set_dtype_policy(policy)

    def _whole_side(self) -> Iterable[dict[str, str]]:
        """The training side, whatever part of it trains: of it are the vocabulary and the labels."""
        return read_examples(dataclasses.replace(self.config.data, train_fraction=1.0), "train")

    def _texts(self) -> Iterator[str]:
        for example in self._whole_side():
            if "messages" in example:
                yield from (message["content"] for message in json.loads(example["messages"]))
            else:
                yield from (text for key, text in example.items() if key not in _NO_TEXT)

    def _fingerprint(self, data: DataConfig, split: str) -> str:
        """Stands for what a store depends on: data, tokenizer, task, lengths."""
        parts = [split, to_dict(data), *self._encoding()]
        parts += [file_sha256(path) for path in self._encoding_files(data, split)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _cache_key(self, data: DataConfig, split: str) -> str:
        classes = (self.task_class, type(self.tokenizer))
        # A task encodes for one architecture: pairs are a row for a decoder, two for an encoder-decoder.
        model = model_class(self.config.model)
        parts = [*self._encoding(), self.tokenizer.pad_id, model.architecture, list(model.features)]
        return store_key(data, split, parts, self._encoding_files(data, split), classes)

    def _encoding(self) -> list[Any]:
        """What the ids of a text depend on besides files."""
        config = to_dict(self.config)
        if self.task_class.has_labels:
            config["task"]["labels"] = list(self.labels)
        return [config["tokenizer"], config["task"], config["model"]["max_length"]]

    def _encoding_files(self, data: DataConfig, split: str) -> list[str]:
        folder = os.path.join(self.workdir, "tokenizer")
        paths = [os.path.join(folder, name) for name in vocabulary_files(folder)]
        if split == "train" and data.augment.is_on and data.augment.synonyms:
            paths.append(data.augment.synonyms)
        if split == "train" and self.config.distillation.outputs:
            paths.append(outputs_path(self.workdir))
        if data.mask_personal:
            paths += plugin_files(data.mask_personal)
        return [*paths, *self.task_class.files(self.config.task)]


def _encode_fn_of(config: dict[str, Any], workdir: str) -> Callable[..., Any]:
    """The `encode` of a run's task, in a process that encodes."""
    return Run(from_dict(ExperimentConfig, config), workdir).task.encode
