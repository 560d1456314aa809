import numpy as np
import tensorflow as tf

from tflm.decoding.temperature import scale_by_temperature


def test_probabilities_follow_the_definition():
    logits = np.random.default_rng(1).normal(0, 5, [4, 50]).astype(np.float32)
    temperature = np.array([0.3, 1.0, 2.0, 100.0], np.float32)
    powers = np.exp(logits.astype(np.float64) / temperature[:, None])
    result = tf.nn.softmax(scale_by_temperature(logits, temperature))
    np.testing.assert_allclose(result, powers / powers.sum(-1, keepdims=True), rtol=1e-4, atol=1e-7)


def test_extreme_temperatures_stay_free_of_nan():
    logits = tf.constant([[1e4, -1e4, float("-inf"), 0.0]] * 4)
    scaled = scale_by_temperature(logits, tf.constant([0.0, 1e-40, 3e38, float("inf")]))
    np.testing.assert_allclose(
        tf.nn.softmax(scaled),
        [[1, 0, 0, 0], [1, 0, 0, 0], [1 / 3, 1 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 0, 1 / 3]],
        rtol=1e-5,
    )


def test_nan_is_one():
    logits = tf.constant([[3.0, 1.0, float("-inf")]])
    result = scale_by_temperature(logits, tf.constant([float("nan")]))
    np.testing.assert_array_equal(result, scale_by_temperature(logits, tf.constant([1.0])))


def test_a_row_without_possible_tokens_stays_so():
    assert np.isneginf(scale_by_temperature(tf.fill([1, 3], float("-inf")), tf.constant([0.5]))).all()
