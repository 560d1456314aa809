"""The trainer: training loop on a strategy with evaluation, checkpoints, logs, and a stop on non-finite losses."""

import contextlib
import math
import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tflm.data import Batches
from tflm.data.batching.eval_loop import EvalBatches, metrics_by_source, sum_over_batches
from tflm.errors import Interrupted, UserError
from tflm.files.locks import hold
from tflm.tasks.task import Task
from tflm.training.adversarial import make_adversarial, pad_id_of
from tflm.training.best_measure import PART, BestMeasure
from tflm.training.checkpoint import Checkpoints
from tflm.training.config import TrainingConfig
from tflm.training.fine_tuning import FineTuningConfig, choose_trainable, rate_factors
from tflm.training.guards import StepGuard
from tflm.training.logs import (
    NoiseScaleMeter,
    NoLog,
    RunLog,
    SpeedMeter,
    evaluation_note,
    peak_flops,
    read_log,
)
from tflm.training.observers import TrainingObserver
from tflm.training.optimizers import make_optimizer
from tflm.training.preemption import StopRequested, StopSignals, stop_message
from tflm.training.replica_rows import distribute
from tflm.training.train_step import Batch, LossScale, make_eval_step, make_train_steps
from tflm.training.weight_masks import WeightMasks
from tflm.training.workers import (
    any_worker,
    check_same_step,
    is_chief,
    lost_workers_noticed,
    num_workers,
    wait_for_all,
)

TRAINING_LOCK = "train.lock"
"""Lock file in the folder of a run while a process trains in it."""

StopFn = Callable[[int, Mapping[str, float]], bool]
"""Takes the step and the metrics of an evaluation, and returns whether the training ends there."""

ModelLossFn = Callable[[Any, Batch], tuple[tf.Tensor, tf.Tensor]]
"""Takes the model and a batch, and returns the loss in training as a sum, and its weight; as `Task.loss`."""

# Keras numbers optimizers and random generators per process. The number depends on objects outside this run, so it is
# removed from checkpoint names.
_NUMBERED = re.compile(r"^(adam_w|muon|adafactor|lion|sgd|seed_generator)(_\d+)?/")


def training_lock(workdir: str) -> contextlib.AbstractContextManager[None]:
    """A reentrant lock against other processes that train in the same folder.

    Raises:
        UserError: another process trains in the folder, or the folder cannot be created.
    """
    return hold(
        os.path.join(workdir, TRAINING_LOCK),
        f"{workdir!r} is being trained",
        "Wait for that process, stop it, or give another --workdir.",
    )


class Trainer:
    """Trains one model on one task.

    Args:
        model_fn: creates the model; called inside the scope of the strategy, after the seed is set.
        task: see `tflm.tasks`.
        config: training hyperparameters.
        workdir: folder of the checkpoints and logs.
        strategy: distribution strategy; the current one if None.
        fine_tuning: frozen variables and layer-wise learning rates; None to train everything at one rate.
        loss_fn: what is minimized; the task's loss if None.
        masks_fn: makes masks of weights that stay 0, for the model; None for none.
    Raises:
        UserError: the batch size is not divisible by replicas and micro-batches, `fine_tuning` does not fit the
            model, or `adversarial` does not fit the loss.
    """

    def __init__(
        self,
        model_fn: Callable[[], Any],
        task: Task,
        config: TrainingConfig,
        workdir: str,
        strategy: tf.distribute.Strategy | None = None,
        fine_tuning: FineTuningConfig | None = None,
        loss_fn: ModelLossFn | None = None,
        masks_fn: Callable[[Any], WeightMasks] | None = None,
    ) -> None:
        self.task, self.config, self.workdir = task, config, workdir
        self.strategy = strategy or tf.distribute.get_strategy()
        per_replica, rest = divmod(config.global_batch_size, self.strategy.num_replicas_in_sync)
        if rest or per_replica % config.num_micro_batches:
            raise UserError(
                f"training.global_batch_size={config.global_batch_size} is not divisible by "
                f"{self.strategy.num_replicas_in_sync} replicas times {config.num_micro_batches} micro-batches. Set it "
                "to a multiple."
            )
        # Keras draws the seeds of initializers and dropout layers from `random`. `keras.utils.set_random_seed` would
        # also call `tf.random.set_seed`, which clears the kernel cache and with it the user's lookup tables.
        random.seed(config.seed)
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.precision)
        try:
            with self.strategy.scope():
                self.model = model_fn()
                fine_tuning = fine_tuning or FineTuningConfig()
                self.num_frozen = choose_trainable(self.model, fine_tuning)
                factors = rate_factors(self.model, fine_tuning.layer_decay)
                self.optimizer = make_optimizer(config, self.model.trainable_variables, factors)
                self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
                self._loss_scale = LossScale() if config.precision == "mixed_float16" else None
                self._weight_masks = None if masks_fn is None else masks_fn(self.model)
        finally:
            keras.config.set_dtype_policy(policy)
        loss_of = loss_fn or (lambda model, batch: task.loss(model, batch, training=True))
        largest = per_replica // config.num_micro_batches, getattr(task, "max_length", 0)
        self._train_steps = make_train_steps(
            self.strategy,
            lambda batch: loss_of(self.model, batch),
            self.model.trainable_variables,
            self.optimizer,
            num_micro_batches=config.num_micro_batches,
            clip_norm=config.clip_norm,
            jit_compile=config.jit_compile,
            pad_id=pad_id_of(self.model),
            mask_seed=config.seed if config.dropout_masks == "per_example" else None,
            loss_scale=self._loss_scale,
            fuses=config.fusion,
            largest_batch=largest if getattr(task, "few_widths", True) else None,
            weight_masks=self._weight_masks,
            adversarial=make_adversarial(config, task, self.model, loss_fn is not None),
        )
        self.before_evaluation: Callable[[], str] = lambda: ""
        """Called before each evaluation during training and at the last step; gives a line for the user, or ""."""
        self._eval_step = make_eval_step(self.strategy, lambda batch: task.sums(self.model, batch))
        self.checkpoints = Checkpoints(
            f"{workdir}/checkpoints",
            self._state(),
            config.keep_checkpoints,
            keep_every=config.keep_every,
            background=config.async_checkpoints,
        )

    def train(
        self,
        batches: Batches,
        eval_batches: EvalBatches | None,
        stop_at: int | None = None,
        note_fn: Callable[[str], None] = lambda text: None,
        stop_fn: StopFn | None = None,
        observers: Sequence[TrainingObserver] = (),
    ) -> dict[str, float]:
        """Trains to `num_steps`, from the newest checkpoint if there is one, or to an early stop.

        On SIGTERM and on the first Ctrl-C (SIGINT), a checkpoint is written after the running call of the compiled loop
        (`log_every` steps at most). A second Ctrl-C ends the process with exit code 130.

        Args:
            batches: training batches, endless.
            eval_batches: evaluation batches, one pass, of a mixture by source; or None.
            stop_at: int, stop early after this step, with a checkpoint; None to train to the end.
            note_fn: called with a line for the user after each evaluation, and when a signal arrives (then from
                another thread).
            stop_fn: called after each evaluation before the last step, such as the pruner of a search; where it
                returns True, the training ends with a checkpoint.
            observers: see `tflm.training.observers`.
        Returns:
            The metrics of the last evaluation; empty without an evaluation.
        Raises:
            UserError: the loss or the gradient norm is not finite; another process trains in the folder; a file
                cannot be written; or `keep_best` is not a measure of the task. The message names the step or the
                checkpoint that was kept.
            Interrupted: a signal arrived, on one worker at least, and a checkpoint was written; or another worker is
                lost. The same call continues.
        """
        with self.lock(), lost_workers_noticed(self.strategy):
            stop = stop_fn or (lambda step, metrics: False)
            return self._train(batches, eval_batches, stop_at, note_fn, stop, observers)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """`training_lock` on the worker that writes the files of the run."""
        return training_lock(self.workdir) if is_chief(self.strategy) else contextlib.nullcontext()

    def restore(self) -> int:
        """Loads the newest intact checkpoint and returns its step; 0 without a checkpoint. All workers call it."""
        with lost_workers_noticed(self.strategy):
            step = self.checkpoints.restore() or 0
            check_same_step(self.strategy, step, self.checkpoints.folder)
        return step

    def _train(
        self,
        batches: Batches,
        eval_batches: EvalBatches | None,
        stop_at: int | None,
        note_fn: Callable[[str], None],
        stop_fn: StopFn,
        observers: Sequence[TrainingObserver],
    ) -> dict[str, float]:
        config, last = self.config, min(stop_at or self.config.num_steps, self.config.num_steps)
        step = self.restore()
        metrics: dict[str, float] = {}
        past = [record for record in read_log(self.workdir) if record["step"] <= step]
        best = BestMeasure.of(config, past, eval_batches is not None)
        is_due = eval_batches is not None and self._missed_evaluation(step, past)
        if (step >= last or best.should_stop) and not is_due:
            if best.should_stop:
                note_fn(best.stop_note(step))
            return metrics
        if eval_batches is not None and best.name and not best.step:
            best.check(self.evaluate(eval_batches, 1))  # a wrong name is found before the training
        iterator = iter(distribute(self.strategy, batches.dataset(start_batch=step)))
        with (
            StopSignals(note_fn) as signals,
            self._log(step, observers, note_fn) as log,
            self.checkpoints.finishing(),
        ):
            guard = self._guard(batches, past, note_fn)
            noise = NoiseScaleMeter(config.global_batch_size, past)
            meter = self._speed_meter()  # reads the log after RunLog removed the records of repeated steps
            if is_due and eval_batches is not None:  # a signal had ended it
                metrics, is_best = self._evaluate_and_log(
                    eval_batches, step, past[-1].get("loss", math.nan), best, log, note_fn, signals
                )
                if is_best:
                    self._save(step, is_best)
            is_stopped = any_worker(self.strategy, bool(signals.received))
            is_ended = bool(metrics) and step < last and any_worker(self.strategy, stop_fn(step, metrics))
            if not step:
                self._update_masks(step, note_fn)
            while step < last and not best.should_stop and not is_stopped and not is_ended:
                count = self._steps_until_pause(step, last)
                pauses = (observer.steps_until_pause(step) for observer in observers)
                count = min([count, *(pause for pause in pauses if pause)])
                log.before_steps(step)
                begin = time.perf_counter()
                steps = self._train_steps(iterator, tf.constant(count))
                values = {name: value.numpy() for name, value in steps.items()}
                guard.check(step, values, self.checkpoints.kept_note)
                step += count
                self.step.assign(step)
                self._update_masks(step, note_fn)
                seconds = time.perf_counter() - begin
                speed = meter.measure(values, seconds)
                record = guard.summary(values) | noise.measure(step, values)
                log.write(step, {**record, "learning_rate": float(self.optimizer.learning_rate), **speed})
                log.advance(step, record.get("loss", math.nan), float(np.sum(values["tokens"])) / seconds)
                is_best = None
                is_due = step % config.eval_every == 0 or step == last
                if is_due and (line := self.before_evaluation()):
                    note_fn(line)
                if eval_batches is not None and is_due:
                    metrics, is_best = self._evaluate_and_log(
                        eval_batches, step, record.get("loss", math.nan), best, log, note_fn, signals
                    )
                    if metrics and step < last:
                        is_ended = any_worker(self.strategy, stop_fn(step, metrics))
                is_stopped = any_worker(self.strategy, bool(signals.received))
                is_last = step == last or best.should_stop or is_stopped or is_ended
                if step % config.checkpoint_every == 0 or is_last or is_best:
                    self._save(step, is_best)
            self.checkpoints.wait()
            wait_for_all(self.strategy)  # nobody leaves before the last checkpoint is written
            if is_stopped:
                raise Interrupted(
                    stop_message(signals.received, step, config.num_steps), signals.received, step
                )
            if best.should_stop:
                note_fn(best.stop_note(step))
        return metrics

    def _save(self, step: int, best: dict[str, Any] | None) -> None:
        """On the worker that writes the files of the run."""
        if is_chief(self.strategy):
            self.checkpoints.save(step, best)

    def evaluate(
        self,
        batches: EvalBatches,
        max_batches: int = 0,
        interruptible: Callable[[Any], Any] = lambda dataset: dataset,
    ) -> dict[str, float]:
        """Metrics of the task over one pass, or over the first `max_batches` batches, of each source, if not 0.

        Args:
            batches: of one source, or of each source of a mixture.
            max_batches: int.
            interruptible: wraps the dataset that is passed over.
        """

        def sums_of(each: Batches) -> dict[str, float]:
            dataset = interruptible(distribute(self.strategy, each.dataset()))
            return sum_over_batches(self._eval_step, dataset, max_batches)

        return metrics_by_source(sums_of, self.task.metrics, batches)[0]

    def _log(
        self, step: int, observers: Sequence[TrainingObserver], note_fn: Callable[[str], None]
    ) -> RunLog:
        """That of the run's folder; of a worker that is not the chief one that writes nothing."""
        log = RunLog if is_chief(self.strategy) else NoLog
        kept_note = self.checkpoints.kept_note
        return log(self.workdir, self.config.num_steps, step, kept_note, observers, note_fn)

    def _evaluate_and_log(
        self,
        batches: EvalBatches,
        step: int,
        loss: float,
        best: BestMeasure,
        log: RunLog,
        note_fn: Callable[[str], None],
        signals: StopSignals,
    ) -> tuple[dict[str, float], dict[str, Any] | None]:
        """The metrics, and what `BestMeasure.add` says of them; both empty if a signal ended the evaluation, which is
        then made when the run is resumed."""
        # The final evaluation is the result of the run and uses all batches.
        is_final, limit = step == self.config.num_steps, self.config.max_eval_batches
        several = num_workers(self.strategy) > 1  # which end it together
        until: Callable[[Any], Any] = (lambda dataset: dataset) if several else signals.until_received
        try:
            # All checkpoints are compared over the same batches.
            part = self.evaluate(batches, limit, until) if is_final and limit and best.name else {}
            metrics = self.evaluate(batches, 0 if is_final else limit, until)
        except StopRequested:
            return {}, None
        compared = {PART + f"eval_{best.name}": part[best.name]} if part else {}
        log.write(step, {f"eval_{name}": value for name, value in metrics.items()} | compared)
        note_fn(evaluation_note(step, loss, metrics))
        log.evaluated(step)
        return metrics, best.add(step, part or metrics)

    def _missed_evaluation(self, step: int, past: list[dict[str, Any]]) -> bool:
        """Whether a signal ended the evaluation of the restored step."""
        is_due = step and (step % self.config.eval_every == 0 or step == self.config.num_steps)
        here = [record for record in past if record["step"] == step]
        return bool(is_due and here and not any(name.startswith("eval_") for name in here[-1]))

    def _speed_meter(self) -> SpeedMeter:
        """A meter that continues from the totals in the log."""
        peak = peak_flops(self.config.precision.removeprefix("mixed_"))
        past = [record for record in read_log(self.workdir) if "seconds" in record]
        done = (past[-1]["tokens"], past[-1]["seconds"]) if past else (0.0, 0.0)
        return SpeedMeter(self.model.num_parameters(), peak * self.strategy.num_replicas_in_sync, *done)

    def _guard(
        self, batches: Batches, past: list[dict[str, Any]], note_fn: Callable[[str], None]
    ) -> StepGuard:
        """It counts skipped steps from where the run was."""
        return StepGuard(
            self.workdir if is_chief(self.strategy) else "",
            batches,
            getattr(self.task, "tokenizer", None),
            self.config.max_skipped_steps,
            int(next((r.get("skipped_in_a_row", 0) for r in reversed(past) if "seconds" in r), 0)),
            note_fn,
        )

    def _steps_until_pause(self, step: int, last: int) -> int:
        config = self.config
        regular = (config.log_every, config.eval_every, config.checkpoint_every)
        pauses = [every - step % every for every in regular]
        if self._weight_masks is not None and (pause := self._weight_masks.steps_until_update(step)):
            pauses.append(pause)
        return min([last - step, *pauses])

    def _update_masks(self, step: int, note_fn: Callable[[str], None]) -> None:
        if self._weight_masks is not None and (line := self._weight_masks.update(step)):
            note_fn(line)

    def _state(self) -> dict[str, tf.Variable]:
        """The complete training state by checkpoint name. The position in the data is the step."""
        state = {"step": self.step, **({} if self._loss_scale is None else self._loss_scale.variables)}
        state |= {} if self._weight_masks is None else self._weight_masks.variables
        for prefix, variables in (("model", self.model.variables), ("optimizer", self.optimizer.variables)):
            for variable in variables:
                name = f"{prefix}/{_NUMBERED.sub('', variable.path)}"
                while name in state:
                    name += "+"  # the random generators of two dropout layers may share a path
                state[name] = variable.value
        return state
