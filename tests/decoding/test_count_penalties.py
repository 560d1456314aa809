import numpy as np
import tensorflow as tf

from tflm.decoding.count_penalties import count_tokens, penalize_counts

NAN, INF = float("nan"), float("inf")


def test_counts_are_those_of_numpy():
    token_ids = np.random.default_rng(1).integers(-1, 12, [5, 40])
    expected = [np.bincount(row[row >= 0], minlength=12) for row in token_ids]
    counts = count_tokens(tf.constant(token_ids, tf.int32), 12)
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == tf.float32


def test_what_is_no_token_is_not_counted():
    token_ids = tf.constant([[-1, 3, -7, 2**31 - 1, 4, 0], [-1] * 6])
    np.testing.assert_array_equal(count_tokens(token_ids, 4), [[1, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(count_tokens(tf.zeros([2, 0], tf.int32), 3), np.zeros([2, 3]))


def test_each_time_and_once():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [4, 30]).astype(np.float32)
    counts = random.integers(0, 4, [4, 30]).astype(np.float32)
    frequency, presence = np.float32([0.0, 0.5, -1.0, 2.0]), np.float32([0.0, 0.0, 1.5, -0.25])
    expected = logits.copy()
    for row, token in np.ndindex(*logits.shape):
        for _ in range(int(counts[row, token])):
            expected[row, token] -= frequency[row]
        if counts[row, token]:
            expected[row, token] -= presence[row]
    result = penalize_counts(logits, counts, frequency, presence).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result[0], logits[0])


def test_no_setting_makes_a_number_that_is_none():
    logits, counts = tf.constant([[-INF, 0.0, 2.0, -3.0]] * 6), tf.constant([[1.0, 0.0, 2.0, 0.0]] * 6)
    settings = tf.constant([NAN, INF, -INF, NAN, 0.0, 0.0]), tf.constant([NAN, 0.0, 0.0, 1.0, INF, -INF])
    result = penalize_counts(logits, counts, *settings).numpy()
    np.testing.assert_array_equal(result[:, [0, 1, 3]], [[-INF, 0, -3]] * 6)
    np.testing.assert_allclose(result[:, 2], [2, -2e30, 2e30, 1, -1e30, 1e30], rtol=1e-6)
