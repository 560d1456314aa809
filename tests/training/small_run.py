"""A training run of a second, for tests; and two programs that need a process of their own.

python small_run.py train WORKDIR OUTPUT.npz       trains to the end, from the newest checkpoint if there is one
python small_run.py replicas OUTPUT.json           two replicas on two virtual CPUs beside one
"""

import json
import os
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

import tflm.training.trainer as trainer_module
from tflm.export.verify import as_written
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model
from tflm.tasks.losses import token_cross_entropy
from tflm.training import FineTuningConfig, Trainer, TrainingConfig, make_strategy, read_log

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
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = make_strategy("mirrored")
    assert mirrored.num_replicas_in_sync == 2

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
    whole, resumed = run(mirrored, model="lstm"), run(mirrored, stop_at=2, model="lstm")
    result["resumed_with_dropout"] = difference(whole, resumed)
    components = [
        tuple(np.array(part) for part in variable.value.values)
        for variable in whole[0].model.trainable_variables
    ]
    result["replicas_differ"] = max(float(np.abs(a - b).max()) for a, b in components)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    trainer_module.peak_flops = lambda dtype: 1e12  # measuring it takes a second
    if sys.argv[1] == "train":
        train_to_the_end(*sys.argv[2:])
    else:
        with as_written():
            compare_replicas(*sys.argv[2:])
