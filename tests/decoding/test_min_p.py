import numpy as np
import tensorflow as tf

from tflm.decoding.min_p import keep_min_p

INF = float("inf")


def test_tokens_below_the_fraction_go():
    logits = np.random.default_rng(1).normal(0, 2, [4, 40]).astype(np.float32)
    min_p = np.array([0.01, 0.1, 0.5, 0.999], np.float32)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(-1, keepdims=True)
    is_kept = probabilities >= min_p[:, None] * probabilities.max(-1, keepdims=True)
    assert 1 <= is_kept[3].sum() < is_kept[0].sum() < 40
    np.testing.assert_array_equal(keep_min_p(logits, min_p), np.where(is_kept, logits, -INF))


def test_off_and_out_of_range():
    logits = tf.constant([[-INF, 3.0, -200.0, 3.0, 1.0]] * 5)
    result = keep_min_p(logits, tf.constant([0.0, -1.0, float("nan"), 1.0, 7.0]))
    only_best = [-INF, 3, -INF, 3, -INF]
    np.testing.assert_array_equal(result, [logits[0], logits[0], logits[0], only_best, only_best])
