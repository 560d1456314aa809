"""The baseline learns what one word or one character decides, and word order where only that decides."""

import itertools
import sys
import unicodedata

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation import text_regression

ENGLISH = [
    f"{a} {b}" for a, b in itertools.product(("a film", "this book", "the music"), ("is", "was", "seems"))
]
CHINESE = [
    "".join(parts) for parts in itertools.product(("手机", "苹果", "衣服"), ("真的", "非常", "一点也"))
]


@pytest.mark.parametrize("stems, words", [(ENGLISH, (" great", " awful")), (CHINESE, ("好", "差"))])
def test_it_learns(stems, words):
    texts = [stem + word for stem in stems[:6] for word in words]
    new = [stem + word for stem in stems[6:] for word in words]
    labels, scores, names = text_regression(texts, ["good", "bad"] * 6, new)
    assert labels == ["good", "bad"] * 3
    assert names == ["bad", "good"] and scores.shape == (6, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    assert labels == [names[best] for best in scores.argmax(axis=1)]


@pytest.mark.parametrize("pairs", [("not good but bad", "not bad but good"), ("狗咬人", "人咬狗")])
def test_bigrams_tell_what_unigrams_cannot(pairs):
    labels, _, _ = text_regression([*pairs] * 3, ["0", "1"] * 3, list(pairs))
    assert labels == ["0", "1"]


def test_marks_and_unicode_forms():
    """दिन and दीन differ in one vowel sign; NFD is read as NFC."""
    labels, _, _ = text_regression(["अच्छा दिन", "अच्छा दीन"] * 3, ["day", "poor"] * 3, ["वह दिन", "वह दीन"])
    assert labels == ["day", "poor"]
    texts = ["très café", "très thé"]
    nfd = [unicodedata.normalize("NFD", text) for text in texts]
    of_texts, of_nfd = (text_regression(texts * 3, ["c", "t"] * 3, side)[1] for side in (texts, nfd))
    np.testing.assert_allclose(of_nfd, of_texts)


def test_nothing_to_label():
    labels, scores, names = text_regression(["red", "blue"], ["r", "b"], [])
    assert (labels, scores.shape, names) == ([], (0, 2), ["b", "r"])


def test_refusals(monkeypatch):
    with pytest.raises(UserError, match=r"2 texts and 1 labels; expected equal numbers"):
        text_regression(["a", "b"], ["0"], [])
    with pytest.raises(UserError, match=r"needs at least two labels; the data has \['0'\]"):
        text_regression(["aa", "bb"], ["0", "0"], [])
    with pytest.raises(
        UserError, match=r"have no features: empty vocabulary.*Check the data and its columns"
    ):
        text_regression(["!", "?"], ["0", "1"], [])
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    with pytest.raises(UserError, match=r"needs the package scikit-learn: pip install 'tflm\[eval\]'"):
        text_regression(["a", "b"], ["0", "1"], [])
