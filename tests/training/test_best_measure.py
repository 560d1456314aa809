"""The best checkpoint, early stopping, and the moving average of the weights."""

import dataclasses
import json
import os

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.models import build_model
from tflm.training import read_log
from tflm.training.best_measure import BestMeasure, is_lower_better, measure_name
from tflm.training.stored_model import describe_choice, load_weights


class ScriptedTask:
    """Adds a measure that takes one scripted value after another, by the step."""

    def __init__(self, small_run, values):
        self._task, self._values = small_run.NextToken(), values

    def __getattr__(self, name):
        return getattr(self._task, name)

    def metrics(self, sums):
        step = int(self.trainer.step)
        return {**self._task.metrics(sums), "accuracy": self._values.get(step, 0.5)}


@pytest.fixture
def scripted(small_run):
    """scripted(workdir, {step: accuracy}, ...) -> a trainer."""

    def make(workdir, values, **changes):
        task = ScriptedTask(small_run, values)
        changes = {"eval_every": 2, "num_steps": 12, "checkpoint_every": 4, "keep_checkpoints": 1, **changes}
        task.trainer = small_run.make_trainer(workdir, "plain_lstm", task=task, **changes)
        return task.trainer

    return make


VALUES = {2: 0.1, 4: 0.3, 6: 0.4, 8: 0.4, 10: 0.2, 12: 0.3}


def test_names_and_directions():
    assert [measure_name(text) for text in ("loss", "Eval loss", "eval_token_accuracy")] == [
        "loss",
        "loss",
        "token_accuracy",
    ]
    lower = {"loss", "perplexity", "mean_absolute_error", "bits_per_byte"}
    assert {name for name in (*lower, "accuracy", "bleu", "rouge1", "f1") if is_lower_better(name)} == lower


def test_a_value_that_is_no_number_is_never_the_best():
    best = BestMeasure("loss", 2)
    assert best.add(1, {"loss": float("nan")}) is None
    assert best.add(2, {"loss": 5.0}) == {"measure": "loss", "value": 5.0}
    assert best.add(3, {"loss": float("nan")}) is None and not best.should_stop
    assert best.add(4, {"loss": 5.0}) is None and best.should_stop
    assert (best.step, best.value, best.num_since) == (2, 5.0, 2)


def test_the_best_is_kept_also_between_checkpoints(small_run, scripted, tmp_path):
    trainer = scripted(tmp_path, VALUES, keep_best="accuracy")
    trainer.train(small_run.Numbers(), small_run.Numbers(1))
    assert trainer.checkpoints.steps() == [6, 12]
    assert trainer.checkpoints.best() == {"step": 6, "measure": "accuracy", "value": 0.4}
    assert describe_choice(trainer.checkpoints.folder, "best") == "best checkpoint by held-out accuracy (0.4)"


def test_a_resumed_run_has_the_same_best_and_stops_at_the_same_step(small_run, scripted, tmp_path):
    settings = {"keep_best": "accuracy", "early_stopping_patience": 2}
    whole, notes = scripted(tmp_path / "whole", VALUES, **settings), []
    metrics = whole.train(small_run.Numbers(), small_run.Numbers(1), note_fn=notes.append)
    assert metrics["accuracy"] == 0.2 and int(whole.step) == 10
    assert whole.checkpoints.steps() == [6, 10]
    words = (
        "stopped at step 10: the held-out accuracy has not improved in 2 evaluations. The best was 0.4 at step 6: "
        "tflm export --checkpoint=best."
    )
    assert notes[-1] == words
    for stop_at in (4, 8):
        scripted(tmp_path / "other", VALUES, **settings).train(
            small_run.Numbers(), small_run.Numbers(1), stop_at=stop_at
        )
    other = scripted(tmp_path / "other", VALUES, **settings)
    other.train(small_run.Numbers(), small_run.Numbers(1))
    assert int(other.step) == 10 and other.checkpoints.best() == whole.checkpoints.best()
    # Stopped again at once.
    again, notes = scripted(tmp_path / "whole", VALUES, **settings), []
    before = os.stat(tmp_path / "whole/log.jsonl").st_mtime_ns
    assert again.train(small_run.Numbers(), small_run.Numbers(1), note_fn=notes.append) == {}
    assert notes == [words] and os.stat(tmp_path / "whole/log.jsonl").st_mtime_ns == before
    # With more patience it goes on.
    again = scripted(tmp_path / "whole", VALUES, keep_best="accuracy", early_stopping_patience=4)
    again.train(small_run.Numbers(), small_run.Numbers(1))
    assert int(again.step) == 12


def test_early_stopping_watches_the_loss_if_no_measure_is_given(small_run, tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, "plain_lstm", num_steps=40, eval_every=2, peak_learning_rate=0.0, early_stopping_patience=3
    )
    trainer.train(small_run.Numbers(), small_run.Numbers(1))
    assert int(trainer.step) == 8 and trainer.checkpoints.best()["step"] == 2
    assert len([record for record in read_log(str(tmp_path)) if "eval_loss" in record]) == 4


def test_the_last_step_is_compared_over_the_same_batches(small_run, tmp_path):
    """Weights that do not change have one loss over a part, and another over the whole."""
    settings = {"num_steps": 6, "eval_every": 2, "peak_learning_rate": 0.0, "keep_best": "loss"}
    trainer = small_run.make_trainer(tmp_path, "plain_lstm", max_eval_batches=1, **settings)
    loss = trainer.evaluate(small_run.Numbers(1))["loss"]
    lower = (count for count in range(2, 12) if trainer.evaluate(small_run.Numbers(count))["loss"] < loss)
    trainer.train(small_run.Numbers(), small_run.Numbers(next(lower)))
    first, _, last = [record for record in read_log(str(tmp_path)) if "eval_loss" in record]
    assert last["eval_loss"] < first["eval_loss"] == last["part_eval_loss"]
    assert "part_eval_loss" not in first and first["eval_num_tokens"] < last["eval_num_tokens"]
    assert trainer.checkpoints.best()["step"] == 2
    again = BestMeasure("loss", 0, read_log(str(tmp_path)))
    assert (again.step, again.num_since) == (2, 2)


def test_a_measure_that_is_not_there_is_refused_before_the_training(small_run, tmp_path):
    trainer = small_run.make_trainer(tmp_path, "plain_lstm", keep_best="bleu")
    with pytest.raises(
        UserError, match=r"keep_best='bleu' is not a held-out measure of this task. It has: loss"
    ):
        trainer.train(small_run.Numbers(), small_run.Numbers(1))
    assert read_log(str(tmp_path)) == []
    with pytest.raises(UserError, match=r"need held-out data. Set data.eval_fraction or data.eval_path"):
        trainer.train(small_run.Numbers(), None)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_moving_average_of_the_weights(small_run, tmp_path, optimizer):
    """Compared with the average of the checkpoints' weights in NumPy."""
    decay, average = 0.6, {}
    trainer = small_run.make_trainer(
        tmp_path,
        "plain_lstm",
        num_steps=8,
        checkpoint_every=1,
        log_every=1,
        ema_decay=decay,
        optimizer=optimizer,
    )
    for step in range(8):
        trainer.train(small_run.Numbers(), None, stop_at=step + 1)
        factor = min(decay, step / (step + 9))
        for path, value in small_run.weights(trainer).items():
            average[path] = factor * average.get(path, 0.0) + (1 - factor) * value
    folder = trainer.checkpoints.folder
    model = build_model(small_run.MODELS["plain_lstm"])
    assert load_weights(folder, model, "ema") == 8
    for variable in model.trainable_variables:
        np.testing.assert_allclose(np.array(variable), average[variable.path], atol=1e-6)
        assert np.abs(np.array(variable) - small_run.weights(trainer)[variable.path]).max() > 1e-4
    assert load_weights(folder, model, "newest") == 8
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(np.array(variable), small_run.weights(trainer)[variable.path])


def test_training_without_an_average_has_no_variables_for_it(small_run, tmp_path):
    trainer = small_run.make_trainer(tmp_path, "plain_lstm", num_steps=2)
    trainer.train(small_run.Numbers(), None)
    assert not [name for name in small_run.all_state(trainer) if "average" in name]
    model = build_model(small_run.MODELS["plain_lstm"])
    folder = trainer.checkpoints.folder
    with pytest.raises(
        UserError, match=r"no moving average of the weights. Train with training.ema_decay=0.999"
    ):
        load_weights(folder, model, "ema")
    with pytest.raises(
        UserError, match=r"no best checkpoint is recorded .* Train with training.keep_best=loss"
    ):
        load_weights(folder, model, "best")
    with pytest.raises(
        UserError, match=r"there is no average in .*`tflm average --workdir=RUN --last=3` makes one"
    ):
        load_weights(folder, model, "average")
    with pytest.raises(UserError, match="there is no checkpoint in"):
        load_weights(str(tmp_path / "none"), model)


def test_frozen_weights_have_no_average_and_are_taken_as_they_are(small_run, tmp_path):
    settings = {"fine_tuning": {"freeze": "embeddings"}, "ema_decay": 0.9, "num_steps": 4}
    trainer = small_run.make_trainer(tmp_path, "plain_transformer", **settings)
    trainer.train(small_run.Numbers(), None)
    model = build_model(dataclasses.replace(small_run.MODELS["plain_transformer"]))
    load_weights(trainer.checkpoints.folder, model, "ema")
    shapes = json.loads((tmp_path / "checkpoints/step_00000004/shapes.json").read_text(encoding="utf-8"))[
        "shapes"
    ]
    trained = {path.replace("/", "_") for path in small_run.weights(trainer)}
    assert {n[10:-8] for n in shapes if n.endswith("_average")} == trained
    for ours, theirs in zip(trainer.model.variables, model.variables, strict=True):
        same = np.array_equal(np.array(ours), np.array(theirs))
        assert same == (ours.path not in small_run.weights(trainer)), ours.path
