import numpy as np
import tensorflow as tf

from tflm.generation.window import pad_left


def test_rows_end_together():
    token_ids, num_padding = pad_left(tf.ragged.constant([[1, 7, 8], [1], [4, 5]], dtype=tf.int32), pad_id=9)
    np.testing.assert_array_equal(token_ids, [[1, 7, 8], [9, 9, 1], [9, 4, 5]])
    np.testing.assert_array_equal(num_padding, [0, 2, 1])
    assert token_ids.dtype == num_padding.dtype == tf.int32
