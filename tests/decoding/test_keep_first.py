import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.keep_first import keep_first, largest

INF = float("inf")


def first(order, weights, limit):
    """Which tokens stay, by the definition: those whose larger ones weigh less than the limit, and the largest."""
    before = [sum(w for other, w in zip(order, weights) if other > own) for own in order]
    return [limit == INF or own == max(order) or sum_ < limit for own, sum_ in zip(order, before)]


def test_the_first_of_any_order_stay():
    order = np.float32([[3, 1, 2], [1, 3, 2], [1, 2, 2], [2, 1, -INF], [1, 2, 3]])
    weights, limits = np.float32([[0.5, 0.25, 0.25]] * 5), np.float32([0.75, -1, 0.25, 0.75, INF])
    result = np.isfinite(keep_first(tf.zeros([5, 3]), order, weights, limits))
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
        result = keep_first(tf.zeros_like(order), order, weights, tf.constant(limits, tf.float32))
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
