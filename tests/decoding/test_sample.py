import numpy as np
import tensorflow as tf

from tflm.decoding.sample import sample

INF = float("inf")
NEARLY_ONE = 1 - 2.0**-52  # the largest number that uniforms can give


def draw(logits, numbers):
    logits = tf.repeat(tf.constant([logits], tf.float32), len(numbers), axis=0)
    return sample(logits, tf.constant(numbers, tf.float64)).numpy().tolist()


def test_it_inverts_the_cumulative_sum():
    logits = np.random.default_rng(1).normal(0, 3, [200, 40]).astype(np.float32)
    numbers = np.random.default_rng(2).random(200)
    sums = np.cumsum(np.exp(logits.astype(np.float64)), axis=1)
    expected = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(sums, numbers)]
    assert sample(logits, numbers).numpy().tolist() == expected
    assert sample(logits, numbers).dtype == tf.int32


def test_a_token_of_probability_zero_is_never_chosen():
    assert draw([-INF, 0.0, -INF, 0.0, -INF], [0.0, 0.4999, 0.5, NEARLY_ONE]) == [1, 1, 3, 3]
    assert draw([-1e9, 0.0, -1e9], [0.0, NEARLY_ONE]) == [1, 1]


def test_a_row_without_a_possible_token_gives_none():
    assert draw([-INF, -INF, -INF], [0.0, 0.5]) == [3, 3]
    assert draw([-INF], [0.5]) == [1]
    assert draw([-1e30], [NEARLY_ONE]) == [0]


def test_a_sum_that_rises_at_probability_zero_chooses_none_there(monkeypatch):
    """As XLA's does: it adds in blocks, and rounds. The numbers are put just where it rises."""
    sums = tf.constant([[2.0**-60, 1.0, 1.0 + 2.0**-52, 2.0 - 2.0**-52, 2.0]] * 3, tf.float64)
    monkeypatch.setattr(tf, "cumsum", lambda *args, **kwargs: sums)
    assert draw([-INF, 0.0, -INF, 0.0, -INF], [0.0, 0.5 + 2.0**-53, NEARLY_ONE]) == [1, 3, 3]


def test_a_large_vocabulary_keeps_its_small_tokens():
    """One likely token and 200,000 that a float32 sum after it would not even notice."""
    logits = np.concatenate([[0.0], np.full(200_000, np.log(1e-9))])
    tail = 200_000 * 1e-9
    inside = (1 + tail * np.array([0.25, 0.5, 0.75])) / (1 + tail)
    np.testing.assert_allclose(draw(logits, inside), [50_000, 100_000, 150_000], atol=5)
