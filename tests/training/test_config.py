"""Settings that are refused, and by which words."""

import pytest

from tflm.training import TrainingConfig


@pytest.mark.parametrize(
    "changes,words",
    [
        (
            {"optimizer": "adam"},
            "optimizer is one of adamw, muon, adafactor, lion, sgd; got 'adam'",
        ),
        (
            {"schedule": "step"},
            "schedule is one of cosine, linear, constant, inverse_sqrt, warmup_stable_decay; got 'step'",
        ),
        (
            {"precision": "float16"},
            "precision is one of float32, mixed_bfloat16, mixed_float16; got 'float16'",
        ),
        ({"dropout_masks": "none"}, "dropout_masks is one of per_example, per_device; got 'none'"),
        ({"num_steps": 0}, "num_steps is at least 1; got 0"),
        ({"global_batch_size": 0}, "global_batch_size is at least 1; got 0"),
        ({"num_micro_batches": 0}, "num_micro_batches is at least 1; got 0"),
        ({"log_every": 0}, "log_every is at least 1; got 0"),
        ({"eval_every": -1}, "eval_every is at least 1; got -1"),
        ({"checkpoint_every": 0}, "checkpoint_every is at least 1; got 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is at least 1; got 0"),
        (
            {"num_micro_batches": 3, "global_batch_size": 8},
            "num_micro_batches divides global_batch_size; got 3 and 8",
        ),
        ({"warmup_steps": -1}, "warmup_steps is not negative; got -1"),
        ({"weight_decay": -0.1}, "weight_decay is not negative; got -0.1"),
        ({"clip_norm": -1.0}, "clip_norm is not negative; got -1.0"),
        ({"l2": -0.1}, "l2 is not negative; got -0.1"),
        ({"decay_fraction": 0.0}, "decay_fraction is above 0 and at most 1; got 0.0"),
        ({"peak_learning_rate": -1.0}, "peak_learning_rate is not negative; got -1.0"),
    ],
)
def test_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig(**changes)


def test_defaults_are_accepted():
    assert TrainingConfig().precision == "float32"
