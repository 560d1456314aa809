import numpy as np
import tensorflow as tf

from tflm.decoding.forced_ids import force

INF = float("inf")


def test_the_token_of_this_place_alone_stays():
    logits = tf.constant([[1.0, 2.0, 3.0, 4.0]] * 4)
    forced_ids = tf.constant([[3, 0, 1]] * 4)
    only = np.where(np.eye(4), logits, -INF)
    result = force(logits, forced_ids, tf.constant([0, 1, 2, 3]))
    np.testing.assert_array_equal(result, [only[3], only[0], only[1], logits[3]])


def test_places_without_a_token_are_free():
    logits = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    result = force(logits, tf.constant([[-1, 1], [-1, 1], [2, 0], [-9, 0]]), tf.constant([0, 1, 0, 0]))
    np.testing.assert_array_equal(result, [[1, 2], [-INF, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(
        force(logits, tf.zeros([4, 0], tf.int32), tf.constant([0, 1, 2, 9])), logits
    )


def test_it_wins_over_what_was_impossible():
    logits = tf.constant([[-INF, 2.0], [float("nan"), 2.0], [-INF, -INF]])
    result = force(logits, tf.constant([[0]] * 3), tf.constant([0, 0, 0]))
    np.testing.assert_array_equal(result, [[0, -INF]] * 3)
