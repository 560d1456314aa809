import numpy as np
import tensorflow as tf

from tflm.decoding.banned_ids import ban

INF = float("inf")


def test_each_row_loses_its_own_tokens():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [6, 20]).astype(np.float32)
    banned_ids = random.integers(-1, 20, [6, 5]).astype(np.int32)
    expected = logits.copy()
    for row, ids in enumerate(banned_ids):
        expected[row, ids[ids >= 0]] = -INF
    np.testing.assert_array_equal(ban(logits, banned_ids), expected)


def test_no_list_and_ids_that_are_no_tokens_do_nothing():
    logits = tf.constant([[1.0, -INF, 3.0]] * 2)
    np.testing.assert_array_equal(ban(logits, tf.zeros([2, 0], tf.int32)), logits)
    np.testing.assert_array_equal(ban(logits, tf.constant([[-1, 3, -(2**31), 2**31 - 1]] * 2)), logits)


def test_everything_can_be_banned():
    np.testing.assert_array_equal(ban(tf.constant([[5.0]]), tf.constant([[0, 0]])), [[-INF]])
