import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.typical_p import keep_typical

INF = float("inf")


def typical(logits, typical_p):
    """The ids that stay, one at a time, in float64."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    possible = [i for i, weight in enumerate(weights) if weight > 0]
    probabilities = weights / weights.sum()
    surprise = {i: -np.log(probabilities[i]) for i in possible}
    entropy = sum(probabilities[i] * surprise[i] for i in possible)
    kept, reached = set(), 0.0
    for i in sorted(possible, key=lambda i: abs(surprise[i] - entropy)):
        if kept and reached >= typical_p:
            break
        kept.add(i)
        reached += probabilities[i]
    return kept


@pytest.mark.parametrize("vocab_size, spread", [(30, 2.0), (1500, 3.0), (1500, 0.3)])
def test_the_typical_set_stays(vocab_size, spread):
    """In the last case neither 64 nor 512 tokens reach p, and everything is sorted."""
    logits = np.random.default_rng(1).normal(0, spread, [5, vocab_size]).astype(np.float32)
    typical_p = np.array([0.0, 0.1, 0.5, 0.9, 0.97], np.float32)
    result = keep_typical(logits, typical_p).numpy()
    for row, p, kept in zip(logits, typical_p, result):
        expected = typical(row, p)
        np.testing.assert_array_equal(kept, [x if i in expected else -INF for i, x in enumerate(row)])


def test_the_likeliest_token_may_go():
    probabilities = [0.45] + [0.55 / 30] * 30
    result = np.isfinite(keep_typical(np.log([probabilities]).astype(np.float32), tf.constant([0.3])))
    np.testing.assert_array_equal(result, [[False] + [True] * 30])


def test_off_leaves_the_logits_alone_whatever_other_rows_ask():
    logits = np.random.default_rng(1).normal(0, 30, [4, 100]).astype(np.float32)
    result = keep_typical(logits, tf.constant([1.0, 2.0, float("nan"), 0.5]))
    np.testing.assert_array_equal(result[:3], logits[:3])
    assert np.isneginf(result[3]).any()


def test_zero_keeps_the_most_typical_and_equals_stay_together():
    logits = np.log([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.1, 0.6, 0.3]]).astype(np.float32)
    result = np.isfinite(keep_typical(logits, tf.constant([0.0, 0.7, -1.0])))
    np.testing.assert_array_equal(result, [[False, False, True], [True, True, True], [False, False, True]])


def test_impossible_tokens_stay_impossible_and_do_not_count():
    logits = tf.constant([[-INF, 0.0, -INF, 1.0, 2.0], [-INF] * 5, [0.0, -INF, -INF, -INF, -500.0]])
    result = keep_typical(logits, tf.constant([0.5, 0.5, 0.9999999]))
    alone = keep_typical(tf.constant([[0.0, 1.0, 2.0]]), tf.constant([0.5])).numpy()[0]
    expected = [[-INF, alone[0], -INF, *alone[1:]], [-INF] * 5, [0, -INF, -INF, -INF, -INF]]
    np.testing.assert_array_equal(result, expected)


def test_a_vocabulary_of_one():
    np.testing.assert_array_equal(keep_typical(tf.constant([[-3.0]]), tf.constant([0.2])), [[-3]])
