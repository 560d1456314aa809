"""BM25 beside a second calculation, word by word; and what counts as a word."""

import collections
import math
import sys

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.retrieval.bm25 import Bm25, count_words, words_of

TEXTS = [
    "The cat sat on the mat.",
    "A dog! The dog, THE dog.",
    "怎么退货？七天内可以退货。",
    "",
    "def readTokens(path): return read_all(path)",
    "猫",
]


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "readTokens read_all HTTPServer x2": ["read", "tokens", "read", "all", "httpserver", "x2"],
        "你好": ["你好"],
        "猫 cat猫咪们": ["猫", "cat", "猫咪", "咪们"],
        "Éa naïve": ["éa", "naïve"],
        "E\u0301a nai\u0308ve": ["éa", "naïve"],
        "हिन्दी": ["हिन्दी"],
        "カタカナ": ["カタ", "タカ", "カナ"],
        "น้ำใจ": ["น้ำ", "ำใ", "ใจ"],
        "ＡＢＣ": ["abc"],
        " ,.;_\n": [],
    }.items(),
)
def test_words(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    "question", ["the dog", "dog dog cat", "退货", "how to read tokens", "猫", "zzz", ""]
)
def test_scores_beside_the_formula(question):
    counts = [collections.Counter(words_of(text)) for text in TEXTS]
    mean = sum(count.total() for count in counts) / len(TEXTS)
    expected = []
    for count in counts:
        score = 0.0
        for word in set(words_of(question)):
            found_in = sum(word in other for other in counts)
            rarity = math.log(1 + (len(TEXTS) - found_in + 0.5) / (found_in + 0.5))
            saturated = count[word] * 2.2 / (count[word] + 1.2 * (0.25 + 0.75 * count.total() / mean))
            score += rarity * saturated
        expected.append(score)
    scores = Bm25(count_words(TEXTS)).scores(question)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_the_text_with_the_rare_words_is_first():
    scores = Bm25(count_words(TEXTS)).scores("怎么退货")
    assert scores.argmax() == 2 and np.count_nonzero(scores) == 1


def test_texts_without_a_word():
    assert Bm25(count_words(["", "。"])).scores("a").tolist() == [0.0, 0.0]


def test_counts_of_some_texts_are_those_of_each():
    counts = count_words(TEXTS)
    assert counts.dtype == np.float32 and counts[1].sum() == 6 and counts[1].max() == 3
    for row, text in enumerate(TEXTS):
        assert (counts[[row]] != count_words([text])).nnz == 0
    assert count_words([]).shape == (0, counts.shape[1])


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(UserError, match=r"needs the package scikit-learn: pip install 'tflm\[documents\]'."):
        count_words([])
