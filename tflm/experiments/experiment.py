"""A run from end to end: `Experiment.create(...)`, `.train()`, `.evaluate()`, `.export()`. The apps call these."""

import contextlib
import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import tensorflow as tf

from tflm.compression import DistillationConfig
from tflm.config import override, save_json
from tflm.errors import UserError
from tflm.evaluation import evaluate, plot_losses
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.evaluate_run import Evaluation, EvaluationOptions
from tflm.experiments.export_run import publish
from tflm.experiments.measured import measured_run
from tflm.experiments.overfit_batch import OverfitResult, overfit_batch
from tflm.experiments.recipe_registry import load_preset
from tflm.experiments.run import Run
from tflm.experiments.run_folder import has_checkpoint
from tflm.experiments.run_record import record_start
from tflm.experiments.samples import samples_of
from tflm.experiments.teacher_outputs import write_outputs
from tflm.export.deploy import write_deployment
from tflm.files.writing import writing
from tflm.training import Trainer, make_strategy, read_log, training_lock
from tflm.training.logs import precision_note
from tflm.training.observers import Histograms, TrainingObserver
from tflm.training.stored_model import (
    AveragedCheckpoint,
    CheckpointChoice,
    average_checkpoints,
    newest_steps,
)
from tflm.training.trainer import StopFn
from tflm.training.workers import chief_first, is_chief, lost_workers_noticed, num_workers, wait_for_all


class TrainingSummary(NamedTuple):
    """What a training gave."""

    training: dict[str, float]
    """The measures of the task on batches that were trained on."""
    held_out: dict[str, float]
    """Those of the held-out side; empty without one."""
    plot: str
    """The picture of the loss curve."""
    step: int
    """The last step."""


class Experiment(Run):
    """A config and the folder of its run. Each part (tokenizer, task, data, model) is made when it is first asked for,
    and found again the next time; see `Run`.

        run = Experiment.create("tiny_chat", "runs/mine", settings=["training.num_steps=50"])
        run.train()
        run.evaluate()["this model"]                     # {"rouge1": 12.3, "rouge1_interval": [10.8, 13.9], ...}
        run.export("saved_models/mine")                  # "saved_models/mine/1"

    Args:
        config: what to do.
        workdir: the folder of the run.
    """

    @classmethod
    def create(
        cls,
        recipe: str | ExperimentConfig | Callable[[], ExperimentConfig],
        workdir: str,
        settings: Sequence[str] = (),
        overwrite: bool = False,
        strategy: tf.distribute.Strategy | None = None,
    ) -> Self:
        """Starts a run in `workdir`, or takes up the one that is there if its config is the same. One that has no
        checkpoint yet, such as a first try with a wrong setting, is begun again with another config, too.

        Args:
            recipe: the name of a recipe, its function, or a config.
            workdir: a folder, made if need be.
            settings: `section.field=value` each, such as "model.num_layers=2".
            overwrite: whether to remove the run that is there.
            strategy: with several workers, all call this: worker 0 begins the run, the others join it.
        Raises:
            UsageError: there is no such recipe.
            UserError: no such field, or a value that does not fit it; a trained run with another config, or something
                else, is in the folder; another process trains in it; it cannot be made; or what a new run is to begin
                with is not there or does not fit.
        """
        config = load_preset(recipe) if isinstance(recipe, str) else recipe
        if not isinstance(config, ExperimentConfig):
            config = config()
        config = override(config, settings)
        if strategy is None or is_chief(strategy):
            begin = functools.partial(cls.begin, config, workdir, overwrite, settings)
        else:
            begin = functools.partial(cls.join, config, workdir, settings)
        return begin() if strategy is None else chief_first(strategy, begin)

    def train(
        self,
        strategy: str | tf.distribute.Strategy = "auto",
        note_fn: Callable[[str], None] | None = None,
        stop_fn: StopFn | None = None,
        observers: Sequence[TrainingObserver] = (),
    ) -> TrainingSummary:
        """Trains to the last step, from the newest checkpoint where there is one, and draws the loss curve.

        Args:
            strategy: the name of one, see `make_strategy`, or a strategy.
            note_fn: called with what is to be said on the way.
            stop_fn: may end the training after an evaluation; see `Trainer.train`.
            observers: what looks at the training, such as trackers and profiles; see `tflm.training.observers`.
        Returns:
            The measures of both sides, and where the loss curve is.
        Raises:
            UserError: data, labels or settings do not fit; or another process trains in the folder.
            Interrupted: SIGTERM or Ctrl-C arrived during the training steps, and a checkpoint was written; or another
                worker is lost, see `lost_workers_noticed`. The same call continues.
        """
        where = make_strategy(strategy) if isinstance(strategy, str) else strategy
        if note_fn is None or not is_chief(where):
            note_fn = lambda text: None  # noqa: E731
        lock = training_lock(self.workdir) if is_chief(where) else contextlib.nullcontext()
        with lock, lost_workers_noticed(where):
            return train_run(self, where, note_fn, stop_fn, observers)

    def overfit_batch(
        self, num_steps: int = 200, note_fn: Callable[[str], None] | None = None
    ) -> OverfitResult:
        """Trains a new model on one batch alone, to see whether model, labels and loss fit each other; the run's own
        checkpoints are not touched. See `tflm.experiments.overfit_batch`.

        Args:
            num_steps: int.
            note_fn: called with lines for the user.
        Returns:
            The first and the last loss; `is_learnt` if it fell to a tenth.
        """
        return overfit_batch(self, num_steps, note_fn or (lambda text: None))

    def evaluate(
        self, options: EvaluationOptions | None = None, step: CheckpointChoice = None, **settings: Any
    ) -> dict[str, Any]:
        """The measures of a checkpoint.

        Args:
            options: on which side or file, and how; the held-out side when None.
            step: which checkpoint: its step, best, average or ema; the newest when None.
            settings: fields of `options`: `run.evaluate(split="test", limit=100)`.
        Returns:
            `held_out`, the measures of training over the whole side; `this model`, those of the task's report, each
            with `NAME_interval`, the ends of its 95% interval; baselines; and `texts`, each example with its answer.
        Raises:
            UserError: no checkpoint, no such side, or the data cannot be read.
        """
        options = dataclasses.replace(options or EvaluationOptions(), **settings)
        evaluation = Evaluation(measured_run(self, step), options)
        return functools.reduce(
            lambda report, section: report | section, evaluation.sections(), evaluation.facts
        )

    def export(self, output: str, step: CheckpointChoice = None, deploy: bool = False, **options: Any) -> str:
        """Exports a checkpoint as a SavedModel that takes strings and returns strings, verified.

        Args:
            output: `saved_models/NAME` for the next free version, or `saved_models/NAME/VERSION`.
            step: which checkpoint: its step, best, average or ema; the newest when None.
            deploy: whether to write `saved_models/NAME/deploy/`, files for stock servers, too.
            options: see `publish`: `draft`, `contrastive`, `xla`, `only`, `weights`, `explain`.
        Returns:
            The folder of the version.
        Raises:
            UserError, ExportError: see `publish`.
        """
        path = publish(self, output, step, **options)
        if deploy:
            write_deployment(path)
        return path

    def average(self, steps: Sequence[int] = (), last: int = 3) -> AveragedCheckpoint:
        """Averages the weights of several checkpoints; `step="average"` of `evaluate` and `export` takes the result.

        Args:
            steps: which checkpoints; the newest ones when empty.
            last: int, how many newest ones.
        Returns:
            Its folder and the steps.
        Raises:
            UserError: see `average_checkpoints`.
        """
        folder = f"{self.workdir}/checkpoints"
        return average_checkpoints(folder, steps or newest_steps(folder, last))

    def save_word_vectors(self, path: str, step: CheckpointChoice = None) -> int:
        """Writes the vectors of a task of word vectors in word2vec's text format; in its binary format where the name
        ends in .bin.

        Returns:
            How many words they are of.
        Raises:
            UserError: the task has none, or there is no checkpoint.
        """
        save_vectors = getattr(self.task_class, "save_vectors", None)
        if save_vectors is None:
            raise UserError(
                f"--word_vectors is for the task word_vectors; that of this run is {self.config.task.kind!r}."
            )
        save_vectors(self.task, self.trained_model(step)[0], path, binary=path.endswith(".bin"))
        return len(self.task.words)  # type: ignore[attr-defined]


_TRIAL_STEPS = 12
_LEAST_STEPS = 10
_SHARE_OF_STEPS = 0.8
"""Of the time that is left; the rest is for tracing, evaluations and checkpoints."""
_MOST_SEEN = 50
"""Batches of the training side that are measured at the end, or a quarter of the steps where that is less."""


def train_run(
    run: Run,
    strategy: tf.distribute.Strategy,
    note_fn: Callable[[str], None],
    stop_fn: StopFn | None = None,
    observers: Sequence[TrainingObserver] = (),
) -> TrainingSummary:
    """Trains a run; call under its `training_lock`, and on all workers.

    Args:
        run: new or resumed.
        strategy: where to run.
        note_fn: called with lines for the user.
        stop_fn: see `Trainer.train`.
        observers: in addition to those of the config.
    """
    begin = time.monotonic()
    if run.config.distillation.outputs:
        first = lambda: write_outputs(run, note_fn)  # noqa: E731
        chief_first(strategy, first) if num_workers(strategy) > 1 else first()
    if num_workers(strategy) > 1:
        chief_first(strategy, lambda: _prepare(run))
    if run.config.training.minutes and not has_checkpoint(run.workdir):
        _fit_into_minutes(run, strategy, begin, note_fn)
    config = run.config
    trainer = run.trainer(strategy, note_fn=note_fn)
    done = trainer.restore()  # first of all: the newest checkpoint may be damaged
    batches = run.batches("train", training=True)
    held_out = run.eval_batches("eval") if config.data.has_eval else None
    if is_chief(strategy):
        record_start(run, strategy, done, trainer.model.num_parameters())
    note_fn(_heading(run, trainer, batches.batches_per_epoch))
    if config.distillation.is_on:
        note_fn(_teacher_note(config.distillation))
    if epochs := batches.epochs(config.training.num_steps):
        note_fn(_mixture_note(config.data.weights, epochs))
    if warning := precision_note(config.training.precision):
        note_fn(warning)
    if done >= config.training.num_steps:
        note_fn(f"all {config.training.num_steps:,} steps are done; --overwrite begins again.")
    elif done:
        note_fn(f"resuming from step {done:,}.")
    observers = (*observers, *_observers_of(run, trainer, strategy, note_fn))
    metrics = trainer.train(batches, held_out, note_fn=note_fn, stop_fn=stop_fn, observers=observers)
    if held_out and not metrics:
        metrics = trainer.evaluate(held_out)
    num_seen = min(_MOST_SEEN, max(1, config.training.num_steps // 4))
    seen = evaluate(run.task, trainer.model, run.eval_batches("train"), max_batches=num_seen)
    plot = os.path.join(run.workdir, "loss.png")
    if is_chief(strategy):
        with writing(f"the loss curve {plot!r}", trainer.checkpoints.kept_note()):
            drawn = plot_losses(read_log(run.workdir), plot, config.name)
        if notice := drawn.notice(plot):
            note_fn(notice)
    wait_for_all(strategy)
    return TrainingSummary(seen, metrics or {}, plot, int(trainer.step.numpy()))


def _observers_of(
    run: Run, trainer: Trainer, strategy: tf.distribute.Strategy, note_fn: Callable[[str], None]
) -> Iterator[TrainingObserver]:
    """Those of the config, on the worker that calls them."""
    training = run.config.training
    if not is_chief(strategy):
        return
    if training.histograms:
        yield Histograms(trainer.model.trainable_variables)
    if training.num_samples and (samples := samples_of(run, trainer.model, note_fn)):
        yield samples


def _fit_into_minutes(
    run: Run, strategy: tf.distribute.Strategy, begin: float, note_fn: Callable[[str], None]
) -> None:
    """Lowers the number of steps to what fits into `training.minutes`, by some steps of a model that is thrown away,
    and writes it into the config of the run."""
    training = run.config.training
    if num_workers(strategy) > 1:
        raise UserError("training.minutes is for one worker. Set training.num_steps instead.")
    _prepare(run)
    trial = dataclasses.replace(
        training,
        num_steps=_TRIAL_STEPS,
        log_every=_TRIAL_STEPS // 4,
        keep_best="",
        early_stopping_patience=0,
        warmup_steps=min(training.warmup_steps, _TRIAL_STEPS),
    )
    with tempfile.TemporaryDirectory(prefix="tflm-step-time-") as folder:
        trainer = run.new_trainer(trial, folder, strategy)
        trainer.train(run.batches("train", training=True), None)
        times = [record["seconds"] for record in read_log(folder) if "seconds" in record]
    seconds = (times[-1] - times[0]) / (_TRIAL_STEPS - _TRIAL_STEPS // 4)
    left = 60.0 * training.minutes - (time.monotonic() - begin)
    fitting = max(_LEAST_STEPS, int(_SHARE_OF_STEPS * left / seconds))
    some = f"{fitting:,} of" if fitting < training.num_steps else "all"
    note_fn(
        f"a step takes {seconds:.3f} s: {some} {training.num_steps:,} steps fit into {training.minutes:g} minutes."
    )
    if fitting >= training.num_steps:
        return
    fitted = dataclasses.replace(
        training, num_steps=fitting, warmup_steps=min(training.warmup_steps, fitting // 10)
    )
    run.config = dataclasses.replace(run.config, training=fitted)
    path = os.path.join(run.workdir, "config.json")
    with writing(f"the run's config {path!r}"):
        save_json(run.config, path)


def _prepare(run: Run) -> None:
    """Makes the files that a training reads: vocabulary, labels, tokenised data."""
    run.store("train")
    if run.config.data.has_eval:
        run.store("eval")


def _mixture_note(weights: dict[str, float], epochs: dict[str, float]) -> str:
    """
    >>> _mixture_note({"wiki": 7.0, "news": 3.0}, {"wiki": 0.4, "news": 2.5})
    'mixture: wiki 70.0% (0.4 epochs), news 30.0% (2.5 epochs)'
    """
    total = sum(weights[name] for name in epochs)
    parts = [
        f"{name} {100 * weights[name] / total:.1f}% ({count:.1f} epochs)" for name, count in epochs.items()
    ]
    return f"mixture: {', '.join(parts)}"


def _teacher_note(settings: DistillationConfig) -> str:
    """
    >>> _teacher_note(DistillationConfig("runs/big", "500"))
    'teacher: runs/big, step 500, alpha 0.5, temperature 2'
    """
    name = "step " * settings.checkpoint.isdecimal() + settings.checkpoint
    parts = [settings.teacher, name] if settings.reads_teacher else [settings.teacher]
    parts += [f"alpha {settings.alpha:g}, temperature {settings.temperature:g}"] if settings.alpha else []
    parts += [
        f"{each} {getattr(settings, each):g}" for each in ("hidden", "attention") if getattr(settings, each)
    ]
    return f"teacher: {', '.join(parts)}" + (", its outputs as targets" if settings.outputs else "")


def _heading(run: Run, trainer: Trainer, batches_per_epoch: float) -> str:
    learning, frozen = trainer.model.num_parameters(), trainer.num_frozen
    training = run.config.training
    return (
        f"{run.config.name}: {learning + frozen:,} parameters{f' ({frozen:,} frozen)' if frozen else ''}, vocabulary "
        f"of {run.tokenizer.vocab_size:,}, {training.num_steps:,} steps of {training.global_batch_size} rows "
        f"({training.num_steps / batches_per_epoch:.1f} epochs), in {run.workdir}"
    )
