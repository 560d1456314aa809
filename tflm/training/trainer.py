"""The training loop: steps on a strategy, evaluation, checkpoints, logs, and a stop when numbers go wrong."""

import random
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.training.checkpoint import Checkpoints
from tflm.training.config import TrainingConfig
from tflm.training.fine_tuning import FineTuningConfig, choose_trainable, rate_factors
from tflm.training.logs import RunLog, read_log
from tflm.training.optimizers import make_optimizer
from tflm.training.throughput import SpeedMeter, peak_flops
from tflm.training.train_step import make_eval_step, make_train_steps

Batch = dict[str, tf.Tensor]

# Keras counts optimizers and random generators through the whole process: a number that says what else was made
# in it has no place in a checkpoint.
_NUMBERED = re.compile(r"^(adam_w|muon|seed_generator)(_\d+)?/")


class Task(Protocol):
    """What the loop needs of a task."""

    def loss(self, model: Any, batch: Batch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss as a sum, and its weight."""

    def sums(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """What an evaluation adds up."""

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """What is reported of the sums."""


class TrainBatches(Protocol):
    """What the loop needs of the data: batch n is a function of n."""

    def dataset(self, start_batch: int = 0) -> tf.data.Dataset:
        """The batches from number `start_batch` on."""


class Trainer:
    """Trains one model on one task.

    Args:
        model_fn: makes the model; called inside the strategy's scope, after the seed is set.
        task: see `tflm.tasks`.
        config: how to train.
        workdir: where checkpoints and logs go.
        strategy: where to run; the default strategy when None.
        fine_tuning: which variables train, and how fast; all alike when None.
    """

    def __init__(
        self,
        model_fn: Callable[[], Any],
        task: Task,
        config: TrainingConfig,
        workdir: str,
        strategy: tf.distribute.Strategy | None = None,
        fine_tuning: FineTuningConfig | None = None,
    ) -> None:
        self.task, self.config, self.workdir = task, config, workdir
        self.strategy = strategy or tf.distribute.get_strategy()
        per_replica, rest = divmod(config.global_batch_size, self.strategy.num_replicas_in_sync)
        if rest or per_replica % config.num_micro_batches:
            raise UserError(
                f"training.global_batch_size={config.global_batch_size} does not divide evenly over "
                f"{self.strategy.num_replicas_in_sync} replicas and {config.num_micro_batches} micro-batches."
            )
        # Keras draws the seeds of initializers and dropouts from here. `keras.utils.set_random_seed` would also
        # call `tf.random.set_seed`, which empties the cache of kernels, and with it a user's own tables.
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
        finally:
            keras.config.set_dtype_policy(policy)
        self._train_steps = make_train_steps(
            self.strategy,
            lambda batch: task.loss(self.model, batch, training=True),
            self.model.trainable_variables,
            self.optimizer,
            num_micro_batches=config.num_micro_batches,
            clip_norm=config.clip_norm,
            jit_compile=config.jit_compile,
        )
        self._eval_step = make_eval_step(self.strategy, lambda batch: task.sums(self.model, batch))
        self.checkpoints = Checkpoints(f"{workdir}/checkpoints", self._state(), config.keep_checkpoints)

    def train(
        self, batches: TrainBatches, eval_batches: TrainBatches | None, stop_at: int | None = None
    ) -> dict[str, float]:
        """Trains from the newest checkpoint, or from the start, to `num_steps`.

        Args:
            batches: endless.
            eval_batches: one pass over the held-out side, or None.
            stop_at: a step to stop at before the end, as an interruption would, with a checkpoint.
        Returns:
            The metrics of the last evaluation, empty when there was none.
        Raises:
            UserError: the loss or the gradients are not finite; names the step.
        """
        config, last = self.config, min(stop_at or self.config.num_steps, self.config.num_steps)
        step = self.checkpoints.restore() or 0
        metrics: dict[str, float] = {}
        if step >= last:
            return metrics
        iterator = iter(self._distribute(batches.dataset(start_batch=step)))
        log = RunLog(self.workdir, config.num_steps, step)
        meter = self._speed_meter()
        try:
            while step < last:
                count = self._steps_until_pause(step, last)
                begin = time.perf_counter()
                values = self._run(iterator, step, count)
                step += count
                self.step.assign(step)
                tokens = float(np.sum(values["tokens"]))
                speed = meter.measure(tokens, time.perf_counter() - begin)
                record = {name: float(np.mean(values[name])) for name in ("loss", "gradient_norm")}
                rate = float(self.optimizer.learning_rate)
                log.write(step, {**record, "learning_rate": rate, **speed})
                log.advance(step, record["loss"], tokens / (time.perf_counter() - begin))
                if eval_batches is not None and (step % config.eval_every == 0 or step == last):
                    # The last one is the run's result: over the whole held-out side.
                    limit = 0 if step == config.num_steps else config.max_eval_batches
                    metrics = self.evaluate(eval_batches, limit)
                    log.write(step, {f"eval_{name}": value for name, value in metrics.items()})
                if step % config.checkpoint_every == 0 or step == last:
                    self.checkpoints.save(step)
        finally:
            log.close()
        return metrics

    def evaluate(self, batches: TrainBatches, max_batches: int = 0) -> dict[str, float]:
        """Metrics of the task over one pass, or over the first `max_batches`."""
        dataset = batches.dataset()
        if max_batches:
            dataset = dataset.take(max_batches)
        sums: dict[str, float] = {}
        for batch in self._distribute(dataset):
            for name, value in self._eval_step(batch).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return self.task.metrics(sums)

    def _speed_meter(self) -> SpeedMeter:
        """Goes on from what the log says was done before."""
        peak = peak_flops("bfloat16" if "bfloat16" in self.config.precision else "float32")
        past = [record for record in read_log(self.workdir) if "seconds" in record]
        done = (past[-1]["tokens"], past[-1]["seconds"]) if past else (0.0, 0.0)
        return SpeedMeter(self.model.num_parameters(), peak * self.strategy.num_replicas_in_sync, *done)

    def _run(self, iterator: Any, step: int, count: int) -> dict[str, np.ndarray]:
        values = {name: v.numpy() for name, v in self._train_steps(iterator, tf.constant(count)).items()}
        finite = np.isfinite(values["loss"]) & np.isfinite(values["gradient_norm"])
        if not finite.all():
            bad = int(np.argmin(finite))
            saved = self.checkpoints.steps()
            raise UserError(
                f"step {step + bad + 1}: the loss is {values['loss'][bad]:.4g} and the gradient norm "
                f"{values['gradient_norm'][bad]:.4g}. Training stopped; the newest checkpoint is of step "
                f"{saved[-1] if saved else 0}. This usually means a learning rate that is too high: lower "
                "training.peak_learning_rate or raise training.warmup_steps."
            )
        return values

    def _steps_until_pause(self, step: int, last: int) -> int:
        config = self.config
        pauses = (config.log_every, config.eval_every, config.checkpoint_every)
        return min([last - step, *(every - step % every for every in pauses)])

    def _distribute(self, dataset: tf.data.Dataset) -> Any:
        if self.strategy.num_replicas_in_sync == 1:
            return dataset
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return self.strategy.experimental_distribute_dataset(dataset.with_options(options))

    def _state(self) -> dict[str, tf.Variable]:
        """Everything that decides the next step. The position in the data is the step."""
        state = {"step": self.step}
        for prefix, variables in (("model", self.model.variables), ("optimizer", self.optimizer.variables)):
            for variable in variables:
                name = f"{prefix}/{_NUMBERED.sub('', variable.path)}"
                while name in state:
                    name += "+"  # Keras lets the generators of two dropouts share a path.
                state[name] = variable.value
        return state
