"""Masks against loops that ask, for each query and key, whether one may see the other."""

import numpy as np
import tensorflow as tf

from tflm.layers import cache_mask, causal_mask, padding_mask, window_mask


def test_the_example_of_causal_mask():
    assert causal_mask(3)[0].numpy().tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_the_example_of_cache_mask():
    mask = cache_mask(capacity=5, num_queries=1, cache_index=3, num_padding=tf.constant([2]))
    assert mask.numpy().tolist() == [[[False, False, True, True, False]]]


def test_the_example_of_padding_mask():
    assert padding_mask([[5, 0, 9]], pad_id=9).numpy().tolist() == [[True, True, False]]


def test_the_example_of_window_mask():
    found = window_mask(num_keys=5, num_queries=2, cache_index=3, window=2)
    assert found.numpy().tolist() == [[[False, False, True, True, True], [False, False, False, True, True]]]


def test_cache_mask_is_a_question_of_places():
    num_padding = [0, 2, 5]
    mask = cache_mask(7, 3, tf.constant(2), tf.constant(num_padding)).numpy()
    assert mask.shape == (3, 3, 7) and mask.dtype == bool
    for row, padding in enumerate(num_padding):
        for query in range(3):
            for key in range(7):
                is_written, is_real = key <= 2 + query, key >= padding
                assert mask[row, query, key] == (is_written and is_real)


def test_an_empty_cache_without_padding_is_causal():
    np.testing.assert_array_equal(cache_mask(6, 6, 0, tf.zeros([1], tf.int32)), causal_mask(6))


def test_masks_of_sizes_known_only_when_the_graph_runs():
    scalar, vector = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
    causal = tf.function(causal_mask, input_signature=[scalar])
    np.testing.assert_array_equal(causal(4), causal_mask(4))
    cache = tf.function(cache_mask, input_signature=[scalar, scalar, scalar, vector])
    padding = tf.constant([1, 0])
    np.testing.assert_array_equal(cache(5, 2, 3, padding), cache_mask(5, 2, 3, padding))
