"""ROUGE: English as rouge-score gives it, Chinese by the character against numbers worked out by hand."""

import re
import sys
import unicodedata

import numpy as np
import pytest
from rouge_score import rouge_scorer

from tflm.errors import UserError
from tflm.evaluation import rouge
from tflm.evaluation.metrics.rouge import rouge_signature

KINDS = ["rouge1", "rouge2", "rougeL"]
ENGLISH = [
    ("Return the first item of the list.", "Returns the first of the items in a list"),
    ("Parse command-line arguments.", "Parses the arguments; command line."),
    ("The cat sat on the mat", "The cat sat on the mat"),
    ("Read a file", "Plot a curve"),
    ("Compute x_1 + 2", "compute X_1 and 2"),
]


def scores_of(reference, prediction):
    return tuple(float(values[0]) for values in rouge([reference], [prediction]).values())


def test_english_equals_rouge_score_with_its_stemmer():
    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=True)
    ours = rouge(*zip(*ENGLISH, strict=True))
    assert list(ours) == KINDS
    for kind in KINDS:
        expected = [scorer.score(*pair)[kind].fmeasure for pair in ENGLISH]
        np.testing.assert_allclose(ours[kind], expected, rtol=0, atol=0)
    assert 0 < ours["rougeL"][0] < 1 == ours["rougeL"][2]


@pytest.mark.parametrize(
    "reference, prediction, expected",
    [
        ("今天天气", "今天天气", (1.0, 1.0, 1.0)),
        # 我很好 of 我很好吗: 3 of 3 and 3 of 4 characters, 2 of 2 and 2 of 3 pairs.
        ("我很好吗", "我很好", (6 / 7, 4 / 5, 6 / 7)),
        # The same characters backwards: the longest common subsequence is one character.
        ("我爱你", "你爱我", (1.0, 0.0, 1 / 3)),
        ("你好", "再见", (0.0, 0.0, 0.0)),
        # Punctuation and spaces count for nothing, whatever their width.
        ("你好，世界！", "你好 世界", (1.0, 1.0, 1.0)),
        # Twice the same character counts at most as often as it is in both.
        ("天天", "天", (2 / 3, 0.0, 2 / 3)),
        ("ひらがな", "ひらがた", (3 / 4, 2 / 3, 3 / 4)),
        ("한국어", "한국", (4 / 5, 2 / 3, 4 / 5)),
        ("𠮷野", "𠮷野", (1.0, 1.0, 1.0)),
        ("人々", "人", (2 / 3, 0.0, 2 / 3)),
    ],
)
def test_chinese_japanese_and_korean_by_the_character(reference, prediction, expected):
    assert scores_of(reference, prediction) == pytest.approx(expected)


def test_mixed_text():
    # read, 文, 件 beside reads, 文, 本: two of three words, one of two pairs.
    assert scores_of("read 文件", "reads文本") == pytest.approx((2 / 3, 1 / 2, 2 / 3))


def test_words_with_other_letters_stay_whole():
    assert scores_of("Дом für Éva", "дом für éva") == (1.0, 1.0, 1.0)
    # für and fur are different words; ROUGE of ASCII alone would find f and r in both.
    assert scores_of("für", "fr") == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "reference, prediction, expected",
    [
        # Two words that share letters and differ in vowel signs: किताब a book, कतार a row.
        ("किताब", "कतार", (0.0, 0.0, 0.0)),
        ("मेरी किताब", "मेरी कतार", (1 / 2, 0.0, 1 / 2)),
        # The Thai words for dog and horse, ห ม า and ม้ า, share their last character alone.
        ("หมา", "ม้า", (2 / 5, 0.0, 2 / 5)),
        ("ปลา", "ปู่", (0.0, 0.0, 0.0)),
        ("ខ្មែរ", "ខ្មែរ", (1.0, 1.0, 1.0)),
        ("မြန်", "မြို့", (0.0, 0.0, 0.0)),
    ],
)
def test_marks_belong_to_their_letters(reference, prediction, expected):
    assert scores_of(reference, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["Crème brûlée", "한국어", "がぎぐ", "ÅNGSTRÖM", "ñandú"])
def test_a_text_is_the_same_in_every_unicode_form(text):
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert scores_of(text, decomposed)[0] == scores_of(decomposed, text)[0] == 1.0


def test_full_width_is_half_width_and_a_power_is_no_digit():
    assert scores_of("ＧＰＴ４", "gpt4")[0] == scores_of("ﬁne", "fine")[0] == 1.0
    assert scores_of("10²", "102")[0] == 0.0


def test_what_counts_as_a_word_is_told():
    assert re.fullmatch(
        r"rouge-score \d\S+, F1, words, Porter's stemmer", rouge_signature(["Reads 文件.", "A file."])
    )
    assert rouge_signature(["今天天气很好", "GPT 是什么"]).endswith(", F1, characters")


def test_nothing_on_one_side_is_zero():
    assert scores_of("", "") == scores_of("a", "") == scores_of("", "你") == (0.0, 0.0, 0.0)
    assert all(values.shape == (0,) for values in rouge([], []).values())


def test_one_prediction_for_each_reference():
    with pytest.raises(UserError, match=r"2 references and 1 predictions; expected equal numbers"):
        rouge(["a", "b"], ["a"])


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(UserError, match=r"needs the package rouge-score: pip install 'tflm\[eval\]'"):
        rouge(["a"], ["a"])
