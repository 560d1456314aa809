import numpy as np
import tensorflow as tf

from tflm.decoding.repetition_penalty import penalize_seen


def test_seen_tokens_are_penalized_row_by_row():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [4, 30]).astype(np.float32)
    seen = random.random([4, 30]) < 0.4
    penalty = np.array([1.0, 1.3, 5.0, 0.5], np.float32)
    expected = logits.copy()
    for row, token in zip(*np.nonzero(seen)):
        if logits[row, token] > 0:
            expected[row, token] /= penalty[row]
        else:
            expected[row, token] *= penalty[row]
    result = penalize_seen(logits, seen, penalty).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_array_equal(result[0], logits[0])
    assert (result[1:3][seen[1:3]] < logits[1:3][seen[1:3]]).all()


def test_a_penalty_that_is_not_positive_is_off_and_impossible_stays_impossible():
    logits = tf.constant([[float("-inf"), 0.0, 2.0]] * 3)
    result = penalize_seen(logits, tf.ones([3, 3], tf.bool), tf.constant([0.0, -2.0, float("nan")]))
    np.testing.assert_array_equal(result, logits)


def test_extreme_penalties_stay_free_of_nan():
    logits = tf.constant([[0.0, 1.0, -1.0, float("-inf")]] * 4)
    penalty = tf.constant([float("inf"), 3e38, 1e-45, 1e-30])
    result = penalize_seen(logits, tf.ones([4, 4], tf.bool), penalty).numpy()
    np.testing.assert_array_equal(result[:, [0, 3]], [[0, float("-inf")]] * 4)
    large, small = [1e-20, -1e20], [1e20, -1e-20]
    np.testing.assert_allclose(result[:2, 1:3], [large, large], rtol=1e-6)
    np.testing.assert_allclose(result[3, 1:3], small, rtol=1e-6)
