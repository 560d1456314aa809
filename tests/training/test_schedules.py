"""The learning rate at every step against the formula in plain Python."""

import math

import pytest
import tensorflow as tf

from tflm.training.config import SCHEDULES
from tflm.training.schedules import WarmupSchedule

PEAK, WARMUP, STEPS, FINAL = 0.5, 4, 20, 0.1


def learning_rate(kind, step):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    done = min((step - WARMUP) / (STEPS - WARMUP), 1.0)
    if kind == "constant":
        return PEAK
    if kind == "inverse_sqrt":
        return PEAK * max(math.sqrt(WARMUP / max(step + 1, WARMUP)), FINAL)
    if kind == "warmup_stable_decay":  # the last five of twenty steps
        done = min(max(step - 15, 0) / 5, 1.0)
    share = (1 + math.cos(math.pi * done)) / 2 if kind == "cosine" else 1 - done
    return PEAK * (FINAL + (1 - FINAL) * share)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_step(kind):
    schedule = WarmupSchedule(kind, PEAK, WARMUP, STEPS, FINAL, decay_fraction=0.25)
    for step in range(STEPS + 5):
        assert float(schedule(step)) == pytest.approx(learning_rate(kind, step), rel=1e-5), step
        assert float(schedule(tf.constant(step, tf.int64))) == float(schedule(step))
    assert float(schedule(0)) == pytest.approx(PEAK / WARMUP)
    assert float(schedule(WARMUP - 1)) == PEAK
    end = PEAK if kind == "constant" else PEAK * FINAL
    assert float(schedule(50 * STEPS)) == pytest.approx(end)
    if kind != "inverse_sqrt":  # which knows no last step
        assert float(schedule(WARMUP)) == PEAK and float(schedule(STEPS)) == float(schedule(50 * STEPS))


def test_the_decay_begins_after_the_warmup():
    """A decay longer than what the warm-up leaves is that of the linear schedule."""
    whole = WarmupSchedule("warmup_stable_decay", PEAK, WARMUP, STEPS, FINAL, decay_fraction=1.0)
    linear = WarmupSchedule("linear", PEAK, WARMUP, STEPS, FINAL)
    assert [float(whole(step)) for step in range(STEPS)] == [float(linear(step)) for step in range(STEPS)]


def test_without_warmup_and_with_nothing_after_it():
    assert float(WarmupSchedule("cosine", PEAK, 0, STEPS, FINAL)(0)) == PEAK
    only_warmup = WarmupSchedule("linear", PEAK, 10, 10, FINAL)
    assert [round(float(only_warmup(step)), 3) for step in (0, 4, 9)] == [0.05, 0.25, 0.5]


def test_config_round_trip():
    schedule = WarmupSchedule("warmup_stable_decay", PEAK, WARMUP, STEPS, FINAL, 0.5)
    again = WarmupSchedule.from_config(schedule.get_config())
    assert [float(again(step)) for step in range(STEPS)] == [float(schedule(step)) for step in range(STEPS)]


def test_an_unknown_schedule():
    with pytest.raises(
        ValueError,
        match="schedule is one of cosine, linear, constant, inverse_sqrt, warmup_stable_decay; got 'step'",
    ):
        WarmupSchedule("step", PEAK, WARMUP, STEPS, FINAL)
