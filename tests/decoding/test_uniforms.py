import numpy as np
import tensorflow as tf

from tflm.decoding.uniforms import uniforms


def numbers(seed, start, count):
    return tf.function(uniforms)(tf.constant(seed, tf.int64), tf.constant(start), tf.constant(count)).numpy()


def test_a_number_depends_on_its_row_seed_and_place_alone():
    whole = numbers([5, -7, 2**40], 0, 200)
    assert whole.shape == (3, 200) and whole.dtype == np.float64
    for start, count in ((0, 1), (1, 64), (63, 2), (64, 64), (65, 130), (199, 1)):
        np.testing.assert_array_equal(numbers([5, -7, 2**40], start, count), whole[:, start : start + count])
    np.testing.assert_array_equal(numbers([2**40], 10, 90)[0], whole[2, 10:100])


def test_they_are_uniform_along_a_row_and_across_seeds(toy):
    """Each check raises a false alarm with probability 1e-4 for an unlucky seed; these are not."""
    along = numbers([3], 0, 20_000)[0]
    across = numbers(range(4_000), 7, 1)[:, 0]
    for values in (along, across):
        assert values.min() >= 0 and values.max() < 1
        assert toy.chi_square_p_value(np.histogram(values, 20, (0, 1))[0], np.full(20, 0.05)) > 1e-4
    pairs = np.histogram2d(along[:-1:2], along[1::2], 10, [[0, 1], [0, 1]])[0].ravel()
    assert toy.chi_square_p_value(pairs, np.full(100, 0.01)) > 1e-4


def test_seeds_differ():
    assert np.unique(numbers(range(-50, 50), 0, 3)).size == 300
