"""Each logit filter against its definition in NumPy, and the selection of top-ranked tokens."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.logit_filters import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_top_ranked,
    keep_typical,
    largest,
    scale_by_temperature,
)

INF = float("inf")


def test_probabilities_reorder_the_definition():
    logits = np.random.default_rng(1).normal(0, 5, [4, 50]).astype(np.float32)
    temperature = np.array([0.3, 1.0, 2.0, 100.0], np.float32)
    powers = np.exp(logits.astype(np.float64) / temperature[:, None])
    result = tf.nn.softmax(scale_by_temperature(logits, temperature))
    np.testing.assert_allclose(result, powers / powers.sum(-1, keepdims=True), rtol=1e-4, atol=1e-7)


def test_extreme_temperatures_stay_free_of_nan():
    logits = tf.constant([[1e4, -1e4, float("-inf"), 0.0]] * 4)
    scaled = scale_by_temperature(logits, tf.constant([0.0, 1e-40, 3e38, float("inf")]))
    np.testing.assert_allclose(
        tf.nn.softmax(scaled),
        [[1, 0, 0, 0], [1, 0, 0, 0], [1 / 3, 1 / 3, 0, 1 / 3], [1 / 3, 1 / 3, 0, 1 / 3]],
        rtol=1e-5,
    )


def test_nan_is_one():
    logits = tf.constant([[3.0, 1.0, float("-inf")]])
    result = scale_by_temperature(logits, tf.constant([float("nan")]))
    np.testing.assert_array_equal(result, scale_by_temperature(logits, tf.constant([1.0])))


def test_a_row_without_possible_tokens_stays_so():
    assert np.isneginf(scale_by_temperature(tf.fill([1, 3], float("-inf")), tf.constant([0.5]))).all()


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


def test_impossible_tokens_stay_impossible_top_k():
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


def test_off_leaves_the_logits_alone_whatever_other_rows_ask_top_p():
    logits = np.random.default_rng(1).normal(0, 30, [4, 100]).astype(np.float32)
    result = keep_top_p(logits, tf.constant([1.0, 2.0, float("nan"), 0.5]))
    np.testing.assert_array_equal(result[:3], logits[:3])


def test_zero_keeps_the_likeliest_and_equals_stay_together():
    logits = np.log([[0.1, 0.6, 0.3], [0.25, 0.5, 0.25], [0.1, 0.6, 0.3]]).astype(np.float32)
    result = np.isfinite(keep_top_p(logits, tf.constant([0.0, 0.6, -1.0])))
    np.testing.assert_array_equal(result, [[False, True, False], [True, True, True], [False, True, False]])


def test_impossible_tokens_stay_impossible_top_p():
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


def test_off_leaves_the_logits_alone_whatever_other_rows_ask_typical_p():
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


def first(order, weights, limit):
    """Which tokens stay, by the definition: those whose larger ones weigh less than the limit, and the largest."""
    before = [sum(w for other, w in zip(order, weights) if other > own) for own in order]
    return [limit == INF or own == max(order) or sum_ < limit for own, sum_ in zip(order, before)]


def test_the_first_of_any_order_stay():
    order = np.float32([[3, 1, 2], [1, 3, 2], [1, 2, 2], [2, 1, -INF], [1, 2, 3]])
    weights, limits = np.float32([[0.5, 0.25, 0.25]] * 5), np.float32([0.75, -1, 0.25, 0.75, INF])
    result = np.isfinite(keep_top_ranked(tf.zeros([5, 3]), order, weights, limits))
    expected = [[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]]
    np.testing.assert_array_equal(result, expected)
    assert [first(*row) for row in zip(order, weights, limits)] == np.array(expected, bool).tolist()


NUMBERS = {
    "any": lambda random: random.normal(0, 1, 600),
    "many equals": lambda random: random.integers(-20, 20, 600),
    "zeros of both signs": lambda random: random.integers(-1, 2, 600) * 0.0,
    "tiny": lambda random: random.integers(-50, 50, 600) * 1e-38,
    "huge and impossible": lambda random: random.choice([-INF, -3e38, -1.0, 0.0, 1.0, 3e38], 600),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_however_many_they_are(name):
    """Whole weights, whose sums are exact: limits in the first 64, the first 512, and beyond those."""
    random = np.random.default_rng(1)
    order = np.stack([NUMBERS[name](random) for _ in range(4)]).astype(np.float32)
    weights = random.integers(0, 4, order.shape).astype(np.float32)
    for limits in ([1, 20, 90, INF], [300, 0, 700, 1], [870, 600, 2, INF], [9999, 10, 899, 0.5]):
        result = keep_top_ranked(tf.zeros_like(order), order, weights, tf.constant(limits, tf.float32))
        expected = [first(*row) for row in zip(order, weights, limits)]
        np.testing.assert_array_equal(np.isfinite(result), expected)


ROWS = {
    "random": np.random.default_rng(1).normal(0, 1, 700),
    "rising": np.arange(700),
    "falling": -np.arange(700),
    "many equals": np.random.default_rng(1).integers(0, 5, 700),
    "few possible": np.where(np.arange(700) % 50 == 7, np.arange(700), -INF),
    "none possible": np.full(700, -INF),
    "all in two blocks": np.where(np.arange(700) // 8 % 60 == 3, np.arange(700), -1000.0 - np.arange(700)),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 65, 700])
def test_the_largest_are_those_of_a_full_sort(name, size):
    values = ROWS[name][-size:].astype(np.float32)[None]
    found, places = largest(tf.constant(values), 64)
    np.testing.assert_array_equal(found, -np.sort(-values)[:, :64])
    np.testing.assert_array_equal(values[0][places[0]], found[0])
    is_number = np.isfinite(found[0])
    assert len(set(places.numpy()[0][is_number])) == is_number.sum()
