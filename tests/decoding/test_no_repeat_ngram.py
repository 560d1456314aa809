import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.no_repeat_ngram import forbid_repeated_ngrams

INF = float("inf")


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
    result = forbid_repeated_ngrams(
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
    result = forbid_repeated_ngrams(tf.zeros([1, 4]), history, tf.constant(3), tf.constant([2]))
    np.testing.assert_array_equal(result, [[0, 0, -INF, 0]])


def test_text_that_follows_it_never_has_an_ngram_twice():
    """Greedy text over three tokens, until nothing is possible."""
    logits, text = np.float32([[3.0, 2.0, 1.0]]), [0]
    while True:
        history = tf.constant([[*text, -1]])
        result = forbid_repeated_ngrams(logits, history, tf.constant(len(text)), tf.constant([3])).numpy()[0]
        if result.max() == -INF:
            break
        text.append(int(result.argmax()))
    assert text == [0, 0, 0, 1, 0, 0, 2, 0, 0]  # 0 0 was followed by 0, 1 and 2
