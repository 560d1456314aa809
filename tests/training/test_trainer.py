"""The loop: what it computes, logs and keeps, when it stops, and that a resumed run is the uninterrupted one."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.models import build_model
from tflm.training import TRAINING_LOCK, Trainer, read_log
from tflm.training import trainer as trainer_module

# What may differ between two equal runs.
SPEED = {"time", "seconds", "tokens_per_second", "share_of_peak", "data_wait"}


def lines(workdir):
    return [{k: v for k, v in record.items() if k not in SPEED} for record in read_log(str(workdir))]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.fixture(scope="module")
def noted(small_run, tmp_path_factory, no_measuring):
    """A plain run, with its trainer, its folder, what it returned and the lines that it gave."""
    workdir, notes = tmp_path_factory.mktemp("trained"), []
    trainer = small_run.make_trainer(workdir, "plain_lstm", num_steps=10, peak_learning_rate=0.05)
    metrics = trainer.train(small_run.Numbers(), small_run.Numbers(3), note_fn=notes.append)
    return trainer, workdir, metrics, notes


@pytest.fixture
def trained(noted):
    """The run, without its lines; no test trains it further."""
    return noted[:3]


def test_a_line_after_each_evaluation(noted):
    lines = noted[3]
    assert [line.partition(": loss ")[0] for line in lines] == ["step 4", "step 8", "step 10"]
    assert all(", held-out loss " in line for line in lines)


def test_it_learns_and_logs(small_run, trained):
    trainer, workdir, metrics = trained
    records = read_log(str(workdir))
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [2, 4, 6, 8, 10]
    measured = {"loss", "gradient_norm", "learning_rate", "tokens", "padding"}
    assert set(steps[0]) == {"step", "time", "seconds", "data_wait"} | measured
    assert set(steps[1]) == set(steps[0]) | {"tokens_per_second", "share_of_peak"}
    assert (
        steps[0]["loss"] == pytest.approx(math.log(29), abs=0.3)
        and steps[-1]["loss"] < steps[0]["loss"] - 0.2
    )
    share = steps[1]["tokens_per_second"] * 6 * trainer.model.num_parameters() / 1e12
    assert steps[1]["share_of_peak"] == pytest.approx(share, rel=1e-5)
    # The learning rate is that of the next step: 10 of 10 done, the fall is over.
    assert steps[-1]["learning_rate"] == pytest.approx(0.05 * 0.1)
    evaluations = [record for record in records if "eval_loss" in record]
    assert [record["step"] for record in evaluations] == [4, 8, 10]
    assert evaluations[-1]["eval_loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    assert int(trainer.step) == 10 and int(trainer.optimizer.iterations) == 10


def test_the_logged_loss_is_the_mean_over_its_steps(small_run, tmp_path):
    runs = {}
    for every in (1, 4):
        trainer = small_run.make_trainer(tmp_path / str(every), "plain_lstm", num_steps=4, log_every=every)
        trainer.train(small_run.Numbers(), None)
        runs[every] = lines(tmp_path / str(every))
    for name in ("loss", "gradient_norm"):
        assert runs[4][-1][name] == pytest.approx(np.mean([r[name] for r in runs[1]]), rel=1e-5)


def test_evaluation_is_a_mean_over_tokens(small_run, trained):
    """Batches weigh as much as they have targets."""
    trainer, _, metrics = trained
    sums = [
        trainer.task.loss(trainer.model, batch, training=False) for batch in small_run.Numbers(3).dataset()
    ]
    totals, weights = np.array([[float(part) for part in pair] for pair in sums]).T
    assert len(set(weights)) > 1
    assert metrics["loss"] == pytest.approx(totals.sum() / weights.sum(), rel=1e-5)
    assert metrics["num_tokens"] == weights.sum()
    two = trainer.evaluate(small_run.Numbers(3), max_batches=2)
    assert two["loss"] == pytest.approx(totals[:2].sum() / weights[:2].sum(), rel=1e-5)


def test_checkpoints_that_are_kept(small_run, tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, "plain_lstm", num_steps=11, checkpoint_every=3, keep_checkpoints=2
    )
    trainer.train(small_run.Numbers(), None)
    assert trainer.checkpoints.steps() == [9, 11]
    names = json.loads(pathlib.Path(trainer.checkpoints.path(11), "shapes.json").read_text(encoding="utf-8"))[
        "shapes"
    ]
    assert {"step", "optimizer/iteration", "model/lstm_language_model/lstm_0/kernel"} <= set(names)
    assert all(np.isfinite(value).all() for value in small_run.all_state(trainer).values())


def test_a_finished_run_is_left_alone(small_run, trained):
    trainer, workdir, _ = trained
    before = lines(workdir)
    again = small_run.make_trainer(workdir, "plain_lstm", num_steps=10)
    assert again.train(small_run.Numbers(), small_run.Numbers(3)) == {}
    assert lines(workdir) == before
    assert_same(small_run.weights(again), small_run.weights(trainer))


@pytest.mark.parametrize("model,optimizer", [("transformer", "adamw"), ("lstm", "muon")])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit(small_run, tmp_path, model, optimizer):
    """With dropout. Stopped between two checkpoints, then killed by an error after its next line of the log. Other
    models and optimizers are made in the same process in between, as in a notebook."""

    def make(name):
        return small_run.make_trainer(tmp_path / name, model, optimizer=optimizer, num_steps=10)

    whole = make("whole")
    whole.train(small_run.Numbers(), small_run.Numbers(2))
    make("other").train(small_run.Numbers(), small_run.Numbers(2), stop_at=5)
    assert [record["step"] for record in lines(tmp_path / "other")] == [2, 4, 4, 5, 5]
    other = make("other")
    assert other.checkpoints.steps() == [4, 5]
    with pytest.raises(tf.errors.OpError, match="no space left on device"):
        other.train(small_run.Numbers(fail_at=7), small_run.Numbers(2))
    assert [record["step"] for record in lines(tmp_path / "other")] == [2, 4, 4, 5, 5, 6]
    other = make("other")
    other.train(small_run.Numbers(), small_run.Numbers(2))
    assert_same(small_run.all_state(other), small_run.all_state(whole))
    # Lines 5 and 6 are over one step each, where the whole run has one line over both.
    common = [record for record in lines(tmp_path / "other") if record["step"] not in (5, 6)]
    assert common == [record for record in lines(tmp_path / "whole") if record["step"] != 6]


@pytest.mark.parametrize("masks, num_draws", [("per_device", 4), ("per_example", 0)])
def test_dropout_goes_on_from_where_it_was(small_run, tmp_path, masks, num_draws):
    """The random generators are in the checkpoint: without them the masks of the first steps would come again. Masks
    per example need no generator; it stays in the checkpoint."""
    trainer = small_run.make_trainer(tmp_path, "transformer", num_steps=4, dropout_masks=masks)
    trainer.train(small_run.Numbers(), None)
    names = [name for name in small_run.all_state(trainer) if "seed_generator_state" in name]
    generators = [small_run.all_state(trainer)[name] for name in names]
    assert len(generators) == 3  # the embedding's, the attention's, the feed-forward network's
    assert all(generator[1] == num_draws for generator in generators)
    assert len({int(generator[0]) for generator in generators}) == 3


def test_another_models_checkpoint(small_run, trained):
    _, workdir, _ = trained
    other = small_run.make_trainer(workdir, "plain_transformer", num_steps=20)
    with pytest.raises(
        UserError,
        match=r"another model: the shape of model/lstm_.* is \[48\] in the checkpoint and absent in the model",
    ):
        other.train(small_run.Numbers(), None)
    wider = dataclasses.replace(small_run.MODELS["plain_lstm"], hidden_dim=13)
    other = Trainer(lambda: build_model(wider), small_run.NextToken(), small_run.make_config(), str(workdir))
    with pytest.raises(
        UserError,
        match=r"model/lstm_language_model/lstm_0/bias is \[48\] in the checkpoint and \[52\] in the model",
    ):
        other.train(small_run.Numbers(), None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_stops_at_its_step(small_run, tmp_path, value):
    options = {"num_steps": 12, "log_every": 4, "max_skipped_steps": 0}
    trainer = small_run.make_trainer(tmp_path, "plain_lstm", **options)
    words = (
        r"step 7: the loss is nan and the gradient norm nan. Training stopped. The checkpoint of step 4 was kept. "
        r"The batch of step 7 begins with"
    )
    with pytest.raises(UserError, match=words) as caught:
        trainer.train(small_run.Numbers(spoil={6: value}), None)
    assert "lower training.peak_learning_rate or raise training.warmup_steps" in str(caught.value)
    assert trainer.checkpoints.steps() == [4]
    assert [record["step"] for record in lines(tmp_path)] == [4]
    # What is kept is good, and goes on with a batch that is.
    again = small_run.make_trainer(tmp_path, "plain_lstm", **options)
    again.train(small_run.Numbers(), None)
    assert all(np.isfinite(value).all() for value in small_run.all_state(again).values())
    assert [record["step"] for record in lines(tmp_path)] == [4, 8, 12]


@pytest.mark.parametrize("model,optimizer", [("plain_lstm", "adamw"), ("plain_transformer", "muon")])
def test_a_step_without_a_finite_loss_changes_nothing(small_run, tmp_path, model, optimizer):
    """Steps 4 and 5 are skipped: weights and moments are those of step 3, and the log says so."""

    def trained(name, num_steps, **spoil):
        options = {"num_steps": 8, "log_every": 1, "eval_every": 8, "checkpoint_every": 8}
        trainer = small_run.make_trainer(tmp_path / name, model, optimizer=optimizer, **options)
        trainer.train(small_run.Numbers(**spoil), None, stop_at=num_steps)
        return small_run.all_state(trainer)

    before = trained("before", 3)
    after = trained("after", 5, spoil={3: float("nan"), 4: float("nan")})
    counted = [name for name in before if name == "step" or name.endswith("iteration")]
    assert len(counted) == 2
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value + 2 if name in counted else value, err_msg=name)
    skipped = [record.get("skipped_in_a_row", 0) for record in lines(tmp_path / "after")]
    assert skipped == [0, 0, 0, 1, 2]


def test_skipped_steps_are_counted_across_a_resume(small_run, tmp_path):
    options = {"num_steps": 8, "log_every": 1, "checkpoint_every": 1, "max_skipped_steps": 2}
    batches = small_run.Numbers(spoil=dict.fromkeys((3, 4, 5), float("nan")))
    small_run.make_trainer(tmp_path, "plain_lstm", **options).train(batches, None, stop_at=5)
    again = small_run.make_trainer(tmp_path, "plain_lstm", **options)
    with pytest.raises(UserError, match=r"step 6: .*as in each of the steps 4 to 6"):
        again.train(batches, None)


def test_batches_that_do_not_divide(small_run, tmp_path):
    two = type("TwoReplicas", (), {"num_replicas_in_sync": 2})()
    words = "global_batch_size=8 is not divisible by 2 replicas times 8 micro-batches"
    with pytest.raises(UserError, match=words):
        small_run.make_trainer(tmp_path, strategy=two, num_micro_batches=8)


@pytest.mark.parametrize("model,compact", [("plain_transformer", False), ("plain_lstm", True)])
def test_compiled_by_xla_it_is_the_same(small_run, tmp_path, model, compact):
    runs = []
    for jit_compile in (False, True):
        task = small_run.NextToken()
        task.compact = compact
        workdir = tmp_path / str(jit_compile)
        trainer = small_run.make_trainer(workdir, model, task=task, num_steps=4, jit_compile=jit_compile)
        trainer.train(small_run.Numbers(), None)
        runs.append((small_run.weights(trainer), lines(workdir)))
    for name, value in runs[0][0].items():
        np.testing.assert_allclose(value, runs[1][0][name], atol=1e-4, err_msg=name)
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(
    "model,optimizer,mixed",
    [
        ("plain_transformer", "muon", "mixed_bfloat16"),
        ("plain_lstm", "adamw", "mixed_bfloat16"),
        ("plain_transformer", "adamw", "mixed_float16"),
        ("plain_lstm", "adamw", "mixed_float16"),
    ],
)
def test_mixed_precision_trains_close_to_float32(small_run, tmp_path, model, optimizer, mixed):
    losses = {}
    for precision in ("float32", mixed):
        workdir = tmp_path / precision
        trainer = small_run.make_trainer(
            workdir,
            model,
            num_steps=40,
            log_every=20,
            eval_every=20,
            checkpoint_every=20,
            precision=precision,
            optimizer=optimizer,
            peak_learning_rate=0.05,
        )
        trainer.train(small_run.Numbers(), None)
        assert keras.config.dtype_policy().name == "float32"
        assert trainer.model.compute_dtype == precision.removeprefix("mixed_")
        variables = [*trainer.model.trainable_variables, *trainer.optimizer.variables]
        assert {v.dtype for v in variables} <= {"float32", "int32", "int64"}
        losses[precision] = [record["loss"] for record in lines(workdir)]
    np.testing.assert_allclose(losses[mixed], losses["float32"], atol=0.03)
    assert losses[mixed][1] < losses[mixed][0] - 0.1


def test_a_resumed_run_in_float16_goes_on_with_its_loss_scale(small_run, tmp_path):
    ends = []
    for name, stops in (("whole", [None]), ("parts", [3, None])):
        for stop, scale in zip(stops, (2.0**12, 2.0**20)):
            options = {"precision": "mixed_float16", "num_steps": 6, "checkpoint_every": 3}
            trainer = small_run.make_trainer(tmp_path / name, **options)
            trainer._loss_scale.value.assign(scale)  # that of the checkpoint replaces the second
            trainer.train(small_run.Numbers(), None, stop_at=stop)
        ends.append(small_run.all_state(trainer))
    assert ends[0]["loss_scale/value"] == 2.0**12 and ends[0]["loss_scale/good_steps"] == 6.0
    assert_same(*ends)
    assert lines(tmp_path / "parts")[-1]["loss_scale"] == 2.0**12


def test_the_seed_decides_the_model(small_run, tmp_path):
    one, same, other = (small_run.make_trainer(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert_same(small_run.all_state(one), small_run.all_state(same))
    assert any(
        np.any(a != b) for a, b in zip(small_run.weights(one).values(), small_run.weights(other).values())
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(small_run, start, tmp_path):
    """SIGKILL at a random moment, then in the middle of a checkpoint; one is written every 3 of 120 steps."""
    small_run.train_to_the_end(tmp_path / "whole", tmp_path / "whole.npz", delay=0.0)
    wait_s, folder = np.random.default_rng().uniform(0, 0.4), tmp_path / "killed" / "checkpoints"
    for in_a_write in (False, True):
        before = len(read_log(str(tmp_path / "killed")))
        process = start("train", tmp_path / "killed", tmp_path / "killed.npz")
        while process.poll() is None and len(read_log(str(tmp_path / "killed"))) <= before + 1:
            time.sleep(0.05)
        if in_a_write:
            while process.poll() is None and not list(folder.glob("*.tmp")):
                pass
        else:
            time.sleep(wait_s)
        process.kill()
        process.communicate()
    assert not (tmp_path / "killed.npz").exists(), "it was never killed in time"
    small_run.train_to_the_end(tmp_path / "killed", tmp_path / "killed.npz", delay=0.0)
    assert_same(dict(np.load(tmp_path / "killed.npz")), dict(np.load(tmp_path / "whole.npz")))
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_a_second_training_in_the_folder_is_refused_and_the_first_goes_on(small_run, tmp_path):
    """The second one begins while the first evaluates, in a thread of its own, whose lock is another."""
    make = functools.partial(small_run.make_trainer, tmp_path, "plain_lstm", num_steps=8)
    first, second, refused = make(), make(), []

    class EvalBatches(small_run.Numbers):
        def dataset(self, start_batch=0):
            thread = threading.Thread(target=train_second)
            thread.start()
            thread.join()
            return super().dataset(start_batch)

    def train_second():
        try:
            second.train(small_run.Numbers(), None)
        except UserError as error:
            refused.append(str(error))

    first.train(small_run.Numbers(), EvalBatches(1))
    assert len(refused) == 2
    assert f"{str(tmp_path)!r} is being trained by process {os.getpid()} on host" in refused[0]
    assert refused[0].endswith("Wait for that process, stop it, or give another --workdir.")
    assert first.checkpoints.steps() == [4, 8] and not (tmp_path / TRAINING_LOCK).exists()
    assert second.restore() == 8
    assert_same(small_run.weights(second), small_run.weights(first))


def test_a_disk_without_space_for_the_log(small_run, tmp_path, largest_file):
    trainer = small_run.make_trainer(tmp_path, "plain_lstm", num_steps=400, log_every=1, checkpoint_every=2)
    size = 60_000  # more than a checkpoint
    words = r"cannot write the log in .*: File too large\. The checkpoint of step \d+ was kept\."
    with pytest.raises(UserError, match=words), largest_file(size):
        trainer.train(small_run.Numbers(), None)
    step = trainer.checkpoints.steps()[-1]
    again = small_run.make_trainer(
        tmp_path, "plain_lstm", num_steps=step + 2, log_every=1, checkpoint_every=2
    )
    again.train(small_run.Numbers(), None)
    assert [record["step"] for record in read_log(str(tmp_path))] == list(range(1, step + 3))


def test_a_stop_fn_ends_the_training_at_an_evaluation_and_it_can_go_on(small_run, tmp_path):
    seen = []

    def stop(step, metrics):
        seen.append((step, metrics["loss"] > 0))
        return step == 4

    trainer = small_run.make_trainer(tmp_path, "plain_lstm", eval_every=2, checkpoint_every=8)
    metrics = trainer.train(small_run.Numbers(), small_run.Numbers(1), stop_fn=stop)
    assert seen == [(2, True), (4, True)] and metrics["loss"] > 0
    assert trainer.checkpoints.steps() == [4], "at once, whatever checkpoint_every is"
    again = small_run.make_trainer(tmp_path, "plain_lstm", eval_every=2, checkpoint_every=8)
    again.train(small_run.Numbers(), small_run.Numbers(1), stop_fn=stop)
    assert seen[2:] == [(6, True)], "not of the last step"
    assert int(again.step) == 8


@pytest.mark.parametrize("few_widths,expected", [(True, (4, 8)), (False, None)])
def test_kernels_of_unknown_widths_are_for_tasks_with_few(
    small_run, tmp_path, monkeypatch, few_widths, expected
):
    given = []
    monkeypatch.setattr(trainer_module, "make_train_steps", lambda *_, **options: given.append(options))
    task = small_run.NextToken()
    task.few_widths, task.max_length = few_widths, 8
    small_run.make_trainer(tmp_path, "plain_lstm", task=task, num_micro_batches=2)
    assert given[0]["largest_batch"] == expected, "8 rows in two micro-batches"
