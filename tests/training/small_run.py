"""A training run of a second, for tests; and programs that need a process of their own.

python small_run.py train WORKDIR OUTPUT.npz       trains to the end, from the newest checkpoint if there is one
python small_run.py replicas OUTPUT.json           two replicas on two virtual CPUs beside one, and four
python small_run.py worker FOLDER                  one of the workers of TF_CONFIG: FOLDER/WORKER.json and runs
python small_run.py launched train FOLDER          one of them that dies once
"""

import json
import os
import signal
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

import tflm.training.trainer as trainer_module
from tflm.errors import Interrupted
from tflm.export.verify import as_written
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model
from tflm.tasks.losses import token_cross_entropy
from tflm.training import FineTuningConfig, Trainer, TrainingConfig, make_strategy, read_log
from tflm.training.workers import is_chief, sum_over_workers, wait_for_all, worker_index

VOCAB_SIZE, ROWS, LENGTH = 29, 8, 5

MODELS = {
    "transformer": TransformerDecoderConfig(
        vocab_size=VOCAB_SIZE, num_layers=1, hidden_dim=16, num_heads=2, max_length=8, dropout=0.2
    ),
    "plain_transformer": TransformerDecoderConfig(
        vocab_size=VOCAB_SIZE, num_layers=1, hidden_dim=16, num_heads=2, max_length=8, tied_output=False
    ),
    "lstm": LSTMConfig(vocab_size=VOCAB_SIZE, num_layers=1, hidden_dim=12, max_length=8, dropout=0.2),
    "plain_lstm": LSTMConfig(vocab_size=VOCAB_SIZE, num_layers=1, hidden_dim=12, max_length=8),
}


class NextToken:
    """The task: cross entropy of every target that counts."""

    compact = False

    def loss(self, model, batch, training):
        states = model.hidden_states(batch["token_ids"], training=training)
        return token_cross_entropy(model, states, batch["targets"], batch["loss_weights"], self.compact)

    def sums(self, model, batch):
        return dict(zip(("loss", "weight"), self.loss(model, batch, training=False), strict=True))

    def metrics(self, sums):
        return {"loss": sums["loss"] / sums["weight"], "num_tokens": sums["weight"]}


class Numbers:
    """Batch n is a function of n: sequences that count up, from a random start. The rows at the end have many more
    targets that count than those at the beginning, so that a mean of means is another number than the mean.

    Args:
        spoil: {batch number: loss weight} to break that batch with.
        fail_at: the batch whose reading raises, as a full disk would.
    """

    def __init__(self, num_batches=10**9, spoil=None, fail_at=-1, delay=0.0):
        self.num_batches, self.spoil, self.fail_at, self.delay = num_batches, spoil or {}, fail_at, delay

    def dataset(self, start_batch=0):
        dataset = tf.data.Dataset.range(start_batch, self.num_batches)
        return dataset.map(
            lambda n: tf.numpy_function(self._batch, [n], [tf.int32, tf.int32, tf.float32])
        ).map(
            lambda *parts: {
                name: tf.ensure_shape(part, [ROWS, LENGTH])
                for name, part in zip(("token_ids", "targets", "loss_weights"), parts, strict=True)
            }
        )

    def _batch(self, number):
        if number == self.fail_at:
            raise RuntimeError("no space left on device")
        time.sleep(self.delay)
        rng = np.random.default_rng(int(number))
        text = (rng.integers(1, 28, [ROWS, 1]) + np.arange(LENGTH + 1)) % 28 + 1
        counts = rng.random([ROWS, LENGTH]) < np.linspace(0.1, 1.0, ROWS)[:, None]
        weights = np.float32(counts)
        weights[-1] = self.spoil.get(int(number), 1.0)
        return np.int32(text[:, :-1]), np.int32(text[:, 1:]), weights


def make_config(**changes):
    defaults = {
        "num_steps": 8,
        "global_batch_size": ROWS,
        "peak_learning_rate": 0.01,
        "warmup_steps": 2,
        "log_every": 2,
        "eval_every": 4,
        "checkpoint_every": 4,
    }
    return TrainingConfig(**{**defaults, **changes})


def make_trainer(workdir, model="transformer", strategy=None, task=None, fine_tuning=None, **changes):
    return Trainer(
        lambda: build_model(MODELS[model]),
        task or NextToken(),
        make_config(**changes),
        str(workdir),
        strategy,
        FineTuningConfig(**fine_tuning or {}),
    )


def all_state(trainer):
    """Name to value of everything that a checkpoint holds."""
    return {name: np.array(variable) for name, variable in trainer._state().items()}


def weights(trainer):
    return {variable.path: np.array(variable) for variable in trainer.model.trainable_variables}


def train_to_the_end(workdir, output, delay=0.03):
    """With dropout, gradient accumulation and bfloat16; batch n is a function of n, as shuffled batches are."""
    trainer = make_trainer(
        workdir,
        num_steps=120,
        checkpoint_every=3,
        eval_every=1000,
        num_micro_batches=2,
        precision="mixed_bfloat16",
        ema_decay=0.9,
    )
    with as_written():  # in a process of its own as in that of the tests
        trainer.train(Numbers(delay=delay), None)
    np.savez(output, **all_state(trainer))


def compare_replicas(output):
    """The largest differences between two replicas and one, and between a resumed run on two and a whole one."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
    four = make_strategy("mirrored")
    assert four.num_replicas_in_sync == 4
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())

    def run(strategy, stop_at=None, **options):
        with tempfile.TemporaryDirectory() as workdir:
            for last in [stop_at, None] if stop_at else [None]:
                trainer = make_trainer(workdir, strategy=strategy, num_steps=4, log_every=1, **options)
                metrics = trainer.train(Numbers(), Numbers(3), stop_at=last)
            log = [
                [record["loss"], record["gradient_norm"]] for record in read_log(workdir) if "loss" in record
            ]
            return trainer, all_state(trainer), np.array(log), metrics

    def difference(one, other):
        return {
            "weights": max(float(np.abs(one[1][name] - other[1][name]).max()) for name in one[1]),
            "log": float(np.abs(one[2] - other[2]).max()),
            "metrics": abs(one[3]["loss"] - other[3]["loss"])
            + abs(one[3]["num_tokens"] - other[3]["num_tokens"]),
        }

    result = {}
    for model, optimizer, fine_tuning, numbers_of_parts in (
        ("plain_transformer", "adamw", {}, (2,)),
        ("plain_transformer", "adamw", {"layer_decay": 0.5, "lora_rank": 2}, (1,)),
        ("plain_lstm", "muon", {"layer_decay": 0.5}, (1, 2)),
    ):
        options = {"model": model, "optimizer": optimizer, "clip_norm": 0.5, "fine_tuning": fine_tuning}
        one = run(None, **options)
        for parts in numbers_of_parts:
            two = run(mirrored, num_micro_batches=parts, **options)
            result[f"{optimizer}_{parts}"] = difference(one, two)
    # With dropout and a random start; an LSTM of the smallest graph.
    options = {"model": "lstm", "adversarial": "freelb", "adversarial_steps": 2}
    result["adversarial"] = difference(run(None, **options), run(mirrored, **options))
    whole, resumed = run(mirrored, model="lstm"), run(mirrored, stop_at=2, model="lstm")
    result["resumed_with_dropout"] = difference(whole, resumed)
    components = [
        tuple(np.array(part) for part in variable.value.values)
        for variable in whole[0].model.trainable_variables
    ]
    result["replicas_differ"] = max(float(np.abs(a - b).max()) for a, b in components)
    result["fifty"] = {
        "one": fifty_steps([None]),
        "parts": fifty_steps([None], num_micro_batches=2),
        "two": fifty_steps([mirrored]),
        "changed": fifty_steps([None, mirrored, four, None]),
    }
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result, file)


def losses(workdir):
    return [record["loss"] for record in read_log(str(workdir)) if "loss" in record]


def fifty_steps(strategies, workdir=None, **options):
    """Fifty steps with dropout that go on from one strategy to the next: the loss of each, the sums of the weights'
    magnitudes, and the names of what a checkpoint holds."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = str(workdir or folder)
        for number, strategy in enumerate(strategies, 1):
            trainer = make_trainer(workdir, strategy=strategy, **FIFTY, **options)
            trainer.train(Numbers(), None, stop_at=50 * number // len(strategies))
        sums = {name: float(np.abs(value).sum()) for name, value in weights(trainer).items()}
        noise = [record.get("gradient_noise") for record in read_log(workdir) if "loss" in record]
        names = sorted(trainer._state())
        return {"losses": losses(workdir), "weights": sums, "names": names, "noise": noise}


def before_each_pause(trainer, action):
    """Calls action(step) before each call of the compiled loop."""
    count_of = trainer._steps_until_pause

    def act_and_count(step, last):
        action(step)
        return count_of(step, last)

    trainer._steps_until_pause = act_and_count


FIFTY = {"num_steps": 50, "log_every": 1, "checkpoint_every": 25}


def work(folder):
    """A worker: trains 50 steps; goes on with the run in FOLDER/begun, which one device has begun; and stops a run
    where the second worker gets a signal."""
    strategy = make_strategy("multi_worker")
    index = worker_index(strategy)
    result = {"sum": sum_over_workers(strategy, index + 1.0), "whole": None}
    fifty = fifty_steps([strategy], f"{folder}/whole")
    begun = make_trainer(f"{folder}/begun", strategy=strategy, **FIFTY)
    evaluated = begun.train(Numbers(), Numbers(3))
    stopped = make_trainer(f"{folder}/stopped", strategy=strategy, num_steps=8)
    before_each_pause(stopped, lambda step: step == 2 and index == 1 and os.kill(os.getpid(), signal.SIGTERM))
    try:
        stopped.train(Numbers(), None)
    except Interrupted as stop:
        result["stopped"] = stop.step
    if is_chief(strategy):
        result |= {
            "whole": fifty["losses"],
            "folder": f"{folder}/whole",
            "begun": losses(f"{folder}/begun"),
            "evaluated": evaluated,
        }
    with open(f"{folder}/{index}.json", "w", encoding="utf-8") as file:
        json.dump(result, file)
    wait_for_all(strategy)


def work_and_die_once(folder):
    """A worker that `tflm launch` starts. The second kills itself after step 30, the first time."""
    strategy = make_strategy("multi_worker")
    marker = f"{folder}/died"

    def die(step):
        if step == 30 and worker_index(strategy) == 1 and not os.path.exists(marker):
            with open(marker, "w", encoding="utf-8"):
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        trainer = make_trainer(f"{folder}/killed", strategy=strategy, **FIFTY)
        before_each_pause(trainer, die)
        trainer.train(Numbers(), None)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(75)
    wait_for_all(strategy)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    trainer_module.peak_flops = lambda dtype: 1e12  # measuring it takes a second
    if sys.argv[1] == "train":
        train_to_the_end(*sys.argv[2:])
    elif sys.argv[1] == "launched":
        with as_written():
            work_and_die_once(sys.argv[3])
    elif sys.argv[1] == "worker":
        with as_written():
            work(*sys.argv[2:])
    else:
        with as_written():
            compare_replicas(*sys.argv[2:])
