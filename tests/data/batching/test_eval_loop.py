"""The evaluation loop: order, limit, sums, and its progress bar."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.data.batching import eval_loop
from tflm.data.batching.eval_loop import run_eval_loop, sum_over_batches


@pytest.mark.parametrize(("max_batches", "expected"), [(0, [2, 4, 6]), (2, [2, 4]), (9, [2, 4, 6])])
def test_outputs_come_in_order_up_to_the_limit(max_batches, expected):
    assert list(run_eval_loop(lambda batch: 2 * batch, [1, 2, 3], max_batches)) == expected


def test_batches_beyond_the_limit_are_not_read():
    batches = iter([1, 2, 3])
    assert list(run_eval_loop(abs, batches, 2)) == [1, 2]
    assert next(batches) == 3


def test_sums_of_a_compiled_step_equal_numpy():
    values = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)

    @tf.function
    def step(batch):
        return {"loss": tf.reduce_sum(batch), "weight": tf.cast(tf.size(batch), tf.float32)}

    sums = sum_over_batches(step, tf.data.Dataset.from_tensor_slices(values))
    assert sums == {"loss": pytest.approx(values.sum(), rel=1e-5), "weight": 20.0}
    assert sum_over_batches(step, []) == {}


def test_a_description_shows_progress(monkeypatch):
    seen = {}

    def track(batches, description, unit, total):
        seen.update(description=description, unit=unit, total=total)
        return batches

    monkeypatch.setattr(eval_loop, "track", track)
    assert list(run_eval_loop(abs, [1, 2], num_batches=2)) == [1, 2]
    assert not seen
    assert list(run_eval_loop(abs, [1, 2], num_batches=2, description="evaluating")) == [1, 2]
    assert seen == {"description": "evaluating", "unit": "batches", "total": 2}
