"""One batch learnt by heart, or not: the diagnosis before a long training."""

import os

from tflm.config import override
from tflm.experiments import Experiment
from tflm.experiments.overfit_batch import without_regularization
from tflm.recipes import load_preset

LEARNABLE = ["model.dropout=0.5", "model.hidden_dim=48", "training.peak_learning_rate=0.02"]


def test_a_batch_is_learnt_by_heart(config, tmp_path):
    run = Experiment.create(override(config, LEARNABLE), str(tmp_path / "run"))
    found = run.overfit_batch(num_steps=200)
    assert found.is_learnt and found.last < 0.1 * found.first and found.num_steps == 200
    assert not os.path.exists(tmp_path / "run" / "checkpoints")


def test_without_a_learning_rate_nothing_is_learnt(config, tmp_path):
    settings = [*LEARNABLE, "training.peak_learning_rate=0"]
    found = Experiment.create(override(config, settings), str(tmp_path / "run")).overfit_batch(num_steps=3)
    assert not found.is_learnt and found.first == found.last


def test_regularization_is_off():
    config = override(
        load_preset("tiny_chat"), ["model.dropout=0.1", "task.label_smoothing=0.1", "task.max_history=2"]
    )
    plain = without_regularization(config)
    assert plain.model.dropout == plain.task.label_smoothing == plain.task.max_history == 0
    assert plain.training == config.training and plain.tokenizer == config.tokenizer
