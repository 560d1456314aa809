"""Each penalty against its definition in Python."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.penalties import (
    count_tokens,
    mask_repeated_ngrams,
    penalize_frequency,
    penalize_repetition,
)

NAN, INF = float("nan"), float("inf")


def ids_of(counts):
    """int32 [B, N]: each token as often as `counts` [B, V] says, padded with -1."""
    rows = [np.repeat(np.arange(len(row)), np.asarray(row, int)) for row in np.asarray(counts)]
    width = max(map(len, rows))
    return tf.constant([[*row, *[-1] * (width - len(row))] for row in rows], tf.int32)


def penalize(logits, seen, penalty):
    """The first half of the tokens of each row is its prompt."""
    ids = ids_of(seen)
    half = ids.shape[1] // 2
    return penalize_repetition(logits, ids[:, :half], ids[:, half:], penalty)


def test_seen_tokens_are_penalized_row_by_row():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [4, 30]).astype(np.float32)
    seen = random.random([4, 30]) < 0.4
    penalty = np.array([1.0, 1.3, 5.0, 0.5], np.float32)
    expected = logits.copy()
    for row, token in zip(*np.nonzero(seen)):
        if logits[row, token] > 0:
            expected[row, token] /= penalty[row]
        else:
            expected[row, token] *= penalty[row]
    result = penalize(logits, seen, penalty).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    np.testing.assert_array_equal(result[0], logits[0])
    assert (result[1:3][seen[1:3]] < logits[1:3][seen[1:3]]).all()


def test_a_penalty_that_is_not_positive_is_off_and_impossible_stays_impossible():
    logits = tf.constant([[float("-inf"), 0.0, 2.0]] * 3)
    result = penalize(logits, np.ones([3, 3]), tf.constant([0.0, -2.0, float("nan")]))
    np.testing.assert_array_equal(result, logits)


def test_extreme_penalties_stay_free_of_nan():
    logits = tf.constant([[0.0, 1.0, -1.0, float("-inf")]] * 4)
    penalty = tf.constant([float("inf"), 3e38, 1e-45, 1e-30])
    result = penalize(logits, np.ones([4, 4]), penalty).numpy()
    np.testing.assert_array_equal(result[:, [0, 3]], [[0, float("-inf")]] * 4)
    large, small = [1e-20, -1e20], [1e20, -1e-20]
    np.testing.assert_allclose(result[:2, 1:3], [large, large], rtol=1e-5)
    np.testing.assert_allclose(result[3, 1:3], small, rtol=1e-5)


def test_counts_are_those_of_numpy():
    token_ids = np.random.default_rng(1).integers(-1, 12, [5, 40])
    expected = [np.bincount(row[row >= 0], minlength=12) for row in token_ids]
    counts = count_tokens(tf.constant(token_ids, tf.int32), 12)
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == tf.float32


def test_what_is_no_token_is_not_counted():
    token_ids = tf.constant([[-1, 3, -7, 2**31 - 1, 4, 0], [-1] * 6])
    np.testing.assert_array_equal(count_tokens(token_ids, 4), [[1, 0, 0, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(count_tokens(tf.zeros([2, 0], tf.int32), 3), np.zeros([2, 3]))


def test_each_time_and_once():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [4, 30]).astype(np.float32)
    counts = random.integers(0, 4, [4, 30]).astype(np.float32)
    frequency, presence = np.float32([0.0, 0.5, -1.0, 2.0]), np.float32([0.0, 0.0, 1.5, -0.25])
    expected = logits.copy()
    for row, token in np.ndindex(*logits.shape):
        for _ in range(int(counts[row, token])):
            expected[row, token] -= frequency[row]
        if counts[row, token]:
            expected[row, token] -= presence[row]
    result = penalize_frequency(logits, ids_of(counts), frequency, presence).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(result[0], logits[0])


def test_no_setting_makes_a_number_that_is_none():
    logits, counts = tf.constant([[-INF, 0.0, 2.0, -3.0]] * 6), tf.constant([[1.0, 0.0, 2.0, 0.0]] * 6)
    settings = tf.constant([NAN, INF, -INF, NAN, 0.0, 0.0]), tf.constant([NAN, 0.0, 0.0, 1.0, INF, -INF])
    result = penalize_frequency(logits, ids_of(counts), *settings).numpy()
    np.testing.assert_array_equal(result[:, [0, 1, 3]], [[-INF, 0, -3]] * 6)
    np.testing.assert_allclose(result[:, 2], [2, -2e30, 2e30, 1, -1e30, 1e30], rtol=1e-5)


def repeated(text, size, vocab_size):
    """The tokens after which the text would have some n-gram twice, by trying each."""
    ngrams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
    last = tuple(text[len(text) - size + 1 :]) if size > 1 else ()
    return {token for token in range(vocab_size) if size > 0 and (*last, token) in ngrams}


def forbid(histories, sizes, vocab_size=6, room=3):
    """The tokens that became impossible in each row; the rows stand on the right of the filled columns."""
    width = max(len(text) for text in histories)
    history = [[-1] * (width - len(text)) + list(text) + [-1] * room for text in histories]
    logits = np.random.default_rng(0).normal(0, 1, [len(histories), vocab_size]).astype(np.float32)
    result = mask_repeated_ngrams(
        logits, tf.constant(history), tf.constant(width), tf.constant(sizes)
    ).numpy()
    assert np.all((result == logits) | (result == -INF))
    return [set(np.nonzero(row == -INF)[0].tolist()) for row in result]


@pytest.mark.parametrize("vocab_size, room", [(2, 0), (3, 3), (6, 0)])
def test_it_forbids_what_would_repeat_an_ngram(vocab_size, room):
    random = np.random.default_rng(vocab_size)
    texts = [random.integers(0, vocab_size, n).tolist() for n in random.integers(1, 15, 60)]
    sizes = random.integers(0, 6, 60).tolist()
    expected = [repeated(text, size, vocab_size) for text, size in zip(texts, sizes)]
    assert any(expected) and not all(expected)
    assert forbid(texts, sizes, vocab_size, room) == expected


def test_size_one_forbids_every_token_there_is_and_none_is_off():
    assert forbid([[4, 4, 1], [4, 4, 1], [4, 4, 1]], [1, 0, -3]) == [{1, 4}, set(), set()]


def test_a_size_beyond_the_text_forbids_nothing():
    text = [1, 1, 1, 1]
    assert forbid([text] * 5, [4, 5, 6, 100, 2**31 - 1]) == [{1}, set(), set(), set(), set()]


def test_padding_is_no_token():
    """Neither as part of what stands last nor of what stood before."""
    assert forbid([[1], [2, 3, 1]], [2, 2]) == [set(), set()]
    assert forbid([[1, 1], [5, 5, 5, 5, 5]], [3, 3]) == [set(), {5}]
    assert forbid([[1, 1], [3, 3]], [3, 4], room=0) == [set(), set()]


def test_what_stands_behind_the_filled_columns_is_not_read():
    history = tf.constant([[1, 2, 1, 3, 3, 3]])
    result = mask_repeated_ngrams(tf.zeros([1, 4]), history, tf.constant(3), tf.constant([2]))
    np.testing.assert_array_equal(result, [[0, 0, -INF, 0]])


def test_text_that_reorders_it_never_has_an_ngram_twice():
    """Greedy text over three tokens, until nothing is possible."""
    logits, text = np.float32([[3.0, 2.0, 1.0]]), [0]
    while True:
        history = tf.constant([[*text, -1]])
        result = mask_repeated_ngrams(logits, history, tf.constant(len(text)), tf.constant([3])).numpy()[0]
        if result.max() == -INF:
            break
        text.append(int(result.argmax()))
    assert text == [0, 0, 0, 1, 0, 0, 2, 0, 0]  # 0 0 was followed by 0, 1 and 2
