import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.top_k import keep_top_k

INF = float("inf")


def test_the_k_likeliest_stay():
    logits = np.random.default_rng(1).normal(0, 3, [5, 40]).astype(np.float32)
    top_k = [1, 7, 39, 40, 13]
    result = keep_top_k(logits, tf.constant(top_k)).numpy()
    for row, k, kept in zip(logits, top_k, result):
        likeliest = set(np.argsort(-row)[:k])
        np.testing.assert_array_equal(kept, [x if i in likeliest else -INF for i, x in enumerate(row)])


def test_off_too_many_and_equals():
    logits = tf.constant([[1.0, 3.0, 2.0, 2.0]] * 5)
    result = keep_top_k(logits, tf.constant([0, -1, 99, 2, 1]))
    whole, equals = [1, 3, 2, 2], [-INF, 3, 2, 2]
    np.testing.assert_array_equal(result, [whole, whole, whole, equals, [-INF, 3, -INF, -INF]])


def test_impossible_tokens_stay_impossible():
    np.testing.assert_array_equal(
        keep_top_k(tf.constant([[-INF, 0.0, -INF]]), tf.constant([2])), [[-INF, 0, -INF]]
    )


@pytest.mark.parametrize("ks", [[1, 64, 5], [1, 65, 512], [600, 999, 1000], [0, 513, 2**31 - 1]], ids=str)
def test_any_k_of_a_large_vocabulary(ks):
    logits = np.random.default_rng(2).normal(0, 3, [3, 1000]).astype(np.float32)
    result = keep_top_k(logits, tf.constant(ks)).numpy()
    for row, k, kept in zip(logits, ks, result):
        threshold = np.sort(row)[-min(k, 1000)] if k else -INF
        np.testing.assert_array_equal(kept, np.where(row >= threshold, row, -INF))
