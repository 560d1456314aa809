"""The loop itself, with steps that only count."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.loop import SegmentedLoop


class Counts(NamedTuple):
    """The loop state: the numbers written, how many, and in how many segments."""

    numbers: tf.Tensor
    num_steps: tf.Tensor
    num_segments: tf.Tensor


class CountingLoop(SegmentedLoop):
    """Writes step + 1 into column `step`, up to `end` columns, in segments of 3."""

    def __init__(self, end, compiled):
        self.end, self.compiled = end, compiled

    def is_running(self, state):
        return state.num_steps < self.end

    def with_room(self, state, count):
        return state._replace(numbers=tf.pad(state.numbers, [[0, 0], [0, count]]))

    def begin_segment(self, state):
        return self.with_room(state, 3), state.num_steps + 3

    def has_steps(self, state, segment):
        return (state.num_steps < segment) & self.is_running(state)

    def step(self, state, segment):
        is_here = tf.range(tf.shape(state.numbers)[1]) == state.num_steps
        numbers = tf.where(is_here, state.num_steps + 1, state.numbers)
        return state._replace(numbers=numbers, num_steps=state.num_steps + 1)

    def end_segment(self, state, segment):
        return state._replace(num_segments=state.num_segments + 1)


def run(end, compiled=False):
    start = Counts(tf.zeros([2, 0], tf.int32), tf.constant(0), tf.constant(0))
    return CountingLoop(end, compiled).run(start)


@pytest.mark.parametrize("end, num_segments", [(0, 0), (1, 1), (3, 1), (4, 2), (8, 3)])
def test_segments_follow_each_other_until_nothing_is_running(end, num_segments):
    graph = tf.function(run, autograph=False)
    found = graph(tf.constant(end))
    width = 3 * num_segments
    expected = [*range(1, end + 1), *[0] * (width - end)]
    np.testing.assert_array_equal(found.numbers, np.reshape([expected] * 2, [2, width]))
    assert (found.num_steps.numpy(), found.num_segments.numpy()) == (end, num_segments)


def test_only_what_grows_has_no_static_size():
    found = tf.function(run, autograph=False).get_concrete_function(tf.constant(4)).structured_outputs
    assert found.numbers.shape.as_list() == [2, None]
    assert found.num_steps.shape.rank == 0


def test_eager_and_compiled_give_the_same():
    compiled = tf.function(lambda end: run(end, compiled=True), autograph=False)
    for found in (run(tf.constant(7)), compiled(tf.constant(7))):
        assert found.numbers.numpy().tolist() == [[1, 2, 3, 4, 5, 6, 7, 0, 0]] * 2
