import numpy as np
import tensorflow as tf

from tflm.decoding.repetition_penalty import add_seen, penalize_seen, prompt_tokens


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


def test_seen_is_the_prompt_and_every_token_since():
    seen = prompt_tokens(tf.ragged.constant([[1, 3, 3], [0]], dtype=tf.int32), 5)
    np.testing.assert_array_equal(seen, [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]])
    seen = add_seen(add_seen(seen, tf.constant([4, 0])), tf.constant([3, 2]))
    np.testing.assert_array_equal(seen, [[0, 1, 0, 1, 1], [1, 0, 1, 0, 0]])
