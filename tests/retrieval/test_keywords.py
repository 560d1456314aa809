"""Which phrases a text has, and which of them are chosen, beside a slow choice in plain Python."""

import sys

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation.metrics.retrieval import unit_rows
from tflm.retrieval.keywords import candidates, choose, find_keywords


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The black cat, and a dog", ["black", "black cat", "cat", "dog"]),
        ("State-of-the-art models don’t  lie", None),
        ("语言 模型", ["语言", "模型"]),
        ("自然语言", ["自然", "自然语", "自然语言", "然语", "然语言", "语言"]),
        ("用Python写", ["Python"]),
        ("Cat cat CAT", ["Cat", "Cat cat"]),
        ("नमस्ते दुनिया", ["नमस्ते", "नमस्ते दुनिया", "दुनिया"]),
        ("cafe\u0301 café", ["café", "café café"]),
        ("น้ำใจ", ["น้ำ", "น้ำใ", "น้ำใจ", "ำใ", "ำใจ", "ใจ"]),
        ("", []),
        ("the of ... ！？", []),
    ],
)
def test_candidates(text, expected):
    if expected is None:
        expected = ["State-of-the-art", "State-of-the-art models", "models", "models don’t"]
        expected += ["don’t", "don’t lie", "lie"]
    assert candidates(text) == expected


def slow_choice(phrases, vectors, text_vector, count):
    chosen = []
    while len(chosen) < count:
        best, best_value = None, -np.inf
        for place, phrase in enumerate(phrases):
            names = [phrases[other].lower() for other in chosen]
            if any(phrase.lower() in name or name in phrase.lower() for name in names):
                continue
            likeness = max((float(vectors[place] @ vectors[other]) for other in chosen), default=-1.0)
            value = 0.5 * float(vectors[place] @ text_vector) - 0.5 * likeness
            if value > best_value:
                best, best_value = place, value
        if best is None:
            break
        chosen.append(best)
    return chosen


def test_choice_equals_a_slow_one():
    random = np.random.default_rng(0)
    phrases = candidates("Language models learn words; 语言模型学习词语。")
    vectors = unit_rows(random.normal(size=(len(phrases), 4)))
    text_vector = unit_rows(random.normal(size=(1, 4)))[0]
    for count in (1, 3, 5, 100):
        found = choose(phrases, vectors, text_vector, count)
        assert found == slow_choice(phrases, vectors, text_vector, count)
    assert found[0] == int((vectors @ text_vector).argmax())
    assert 5 < len(found) < len(phrases), "none beside one that holds it"


def test_phrases_like_the_text_and_not_like_each_other():
    directions = {"cat": [1, 0, 0], "kitten": [0.99, 0.1, 0], "tax": [0.6, 0, 0.8], "rain": [-1, 0, 0]}

    def embed(texts):
        return np.array([directions.get(text, [2.0, 0.2, 1.0]) for text in texts])

    (found, none) = find_keywords(["cat; kitten; tax; rain", ""], embed, 2)
    assert [phrase for phrase, _ in found] == ["kitten", "tax"], "the cat is too like the kitten"
    for phrase, score in found:
        own, text = np.array(directions[phrase]), np.array([2.0, 0.2, 1.0])
        assert score == pytest.approx(own @ text / np.linalg.norm(own) / np.linalg.norm(text), abs=1e-5)
    assert none == []


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(
        UserError, match=r"stop words of the package scikit-learn: pip install 'tflm\[eval\]'"
    ):
        candidates("a cat")
