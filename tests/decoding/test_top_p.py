import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.top_p import keep_top_p

INF = float("inf")


def nucleus(logits, top_p):
    """The ids that stay, one at a time, in float64."""
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum()
    kept, reached = set(), 0.0
    for i in np.argsort(-logits):
        if kept and reached >= top_p:
            break
        kept.add(int(i))
        reached += probabilities[i]
    return kept


@pytest.mark.parametrize("vocab_size, spread", [(30, 2.0), (1500, 4.0), (1500, 2.0), (1500, 0.01)])
def test_the_smallest_set_that_reaches_p_stays(vocab_size, spread):
    """Found among the first 64 tokens, the first 512, and, in the last case, all."""
    logits = np.random.default_rng(1).normal(0, spread, [5, vocab_size]).astype(np.float32)
    top_p = np.array([0.0, 0.1, 0.5, 0.9, 0.97], np.float32)
    result = keep_top_p(logits, top_p).numpy()
    for row, p, kept in zip(logits, top_p, result):
        expected = nucleus(row, p)
        np.testing.assert_array_equal(kept, [x if i in expected else -INF for i, x in enumerate(row)])


def test_off_leaves_the_logits_alone_whatever_other_rows_ask():
    logits = np.random.default_rng(1).normal(0, 30, [4, 100]).astype(np.float32)
    result = keep_top_p(logits, tf.constant([1.0, 2.0, float("nan"), 0.5]))
    np.testing.assert_array_equal(result[:3], logits[:3])


def test_zero_keeps_the_likeliest_and_equals_stay_together():
    logits = np.log([[0.1, 0.6, 0.3], [0.25, 0.5, 0.25], [0.1, 0.6, 0.3]]).astype(np.float32)
    result = np.isfinite(keep_top_p(logits, tf.constant([0.0, 0.6, -1.0])))
    np.testing.assert_array_equal(result, [[False, True, False], [True, True, True], [False, True, False]])


def test_impossible_tokens_stay_impossible():
    result = keep_top_p(tf.constant([[-INF, 0.0, -INF, 0.0]]), tf.constant([0.9999999]))
    np.testing.assert_array_equal(result, [[-INF, 0, -INF, 0]])


def test_a_row_that_needs_many_tokens_does_not_change_its_neighbours():
    logits = np.random.default_rng(1).normal(0, [[4.0], [0.01]], [2, 1500]).astype(np.float32)
    both = keep_top_p(logits, tf.constant([0.9, 0.9])).numpy()
    alone = [keep_top_p(row[None], tf.constant([0.9])).numpy()[0] for row in logits]
    np.testing.assert_array_equal(both, alone)
    assert np.isfinite(both[0]).sum() < 64 and np.isfinite(both[1]).sum() > 512


def test_a_row_without_a_possible_token_and_a_vocabulary_of_one():
    impossible = tf.fill([1, 4], -INF)
    np.testing.assert_array_equal(keep_top_p(impossible, tf.constant([0.5])), impossible)
    np.testing.assert_array_equal(keep_top_p(tf.constant([[-3.0]]), tf.constant([0.0])), [[-3]])
