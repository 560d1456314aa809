import numpy as np
import tensorflow as tf

from tflm.decoding.min_new_tokens import forbid_early_end


def test_the_end_is_impossible_in_short_rows_only():
    logits = tf.constant([[5.0, 6.0, 7.0]] * 3)
    result = forbid_early_end(logits, tf.constant([0, 2, 3]), tf.constant([3, 3, 3]), end_id=2)
    short = [5, 6, float("-inf")]
    np.testing.assert_array_equal(result, [short, short, [5, 6, 7]])
