"""Dropout masks of a training step: a function of the seed, the step and the row."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.training.dropout_masks import RowMasks, step_key


def draw(first_row, shape, seed=0, step=3, numbers=(1,), compiled=False):
    """The draws with these numbers for the rows from `first_row` on."""

    def function(step, first_row):
        masks = RowMasks(step_key(seed, step), first_row)
        return [masks.uniform(number, shape) for number in numbers]

    run = tf.function(function, jit_compile=compiled, autograph=False)
    return [part.numpy() for part in run(tf.constant(step, tf.int64), tf.constant(first_row, tf.int64))]


@pytest.mark.parametrize(
    "rest, compiled",
    [*((rest, False) for rest in [(), (1,), (3,), (5, 8), (2, 3, 7)]), ((3,), True), ((5, 8), True)],
)
def test_a_row_has_its_mask_wherever_it_is_computed(rest, compiled):
    (whole,) = draw(0, (8, *rest), compiled=compiled)
    assert whole.shape == (8, *rest) and whole.min() >= 0.0 and whole.max() < 1.0
    for first_row, count in ((0, 4), (4, 4), (6, 2), (7, 1)):
        (part,) = draw(first_row, (count, *rest), compiled=compiled)
        np.testing.assert_array_equal(part, whole[first_row : first_row + count])


def test_shapes_that_are_not_known_when_the_graph_is_built():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 6])], autograph=False)
    def run(x):
        shape = tf.unstack(tf.shape(x))
        return RowMasks(step_key(0, tf.constant(3, tf.int64)), tf.constant(4, tf.int64)).uniform(1, shape)

    (expected,) = draw(4, (2, 5, 6))
    np.testing.assert_array_equal(run(tf.zeros([2, 5, 6])).numpy(), expected)


def test_rows_steps_seeds_and_numbers_differ():
    first, second = draw(0, (4, 64), numbers=(1, 2))
    others = [second, *draw(0, (4, 64), seed=1), *draw(0, (4, 64), step=4), first[[1, 2, 3, 0]]]
    for other in others:
        assert (first == other).mean() < 0.01


def test_numbers_of_parts_differ_from_all_others():
    masks = RowMasks(step_key(0, tf.constant(0, tf.int64)), tf.constant(0, tf.int64))
    assert [masks.next_number() for _ in range(3)] == [1, 2, 3]
    part = masks.part(2)
    assert [part.next_number() for _ in range(2)] == [1, 2]
    assert masks.next_number() == 4
    sources = (masks, part, masks.part(3), part.part(1))
    found = [source.uniform(number, (2, 32)).numpy().tobytes() for source in sources for number in (1, 2)]
    assert len(set(found)) == len(found)


def test_draws_are_uniform():
    (values,) = draw(0, (64, 1024))
    counts, _ = np.histogram(values, bins=16, range=(0.0, 1.0))
    assert abs(counts / values.size - 1 / 16).max() < 0.004  # four standard deviations
