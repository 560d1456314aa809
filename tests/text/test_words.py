"""What a word is in each script, and which texts are the same."""

import unicodedata

import pytest

from tflm.text.cjk import HAN, KANA
from tflm.text.words import comparable, same_text_key, split_words, written_in_characters


@pytest.mark.parametrize(
    "text, words",
    [
        ("It's x_1, 3.5", ["It", "s", "x", "1", "3", "5"]),
        ("Zoe\u0301 x\u0304", ["Zoe\u0301", "x\u0304"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("தமிழ் العربيّة", ["தமிழ்", "العربيّة"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("ก็ดี。", ["ก็", "ดี"]),
        ("文件file・カー", ["文", "件", "file", "カ", "ー"]),
        ("ខ្មែរ។", ["ខ្", "មែ", "រ"]),
        ("\u0301 !", []),
    ],
)
def test_words(text, words):
    assert split_words(text) == words


@pytest.mark.parametrize(
    "text, other, same",
    [
        ("Straße", "STRASSE", True),
        ("ｶﾞｽ", "ガス", True),
        ("ﬁn", "fin", True),
        ("soft\u00adhyphen", "softhyphen", True),
        ("葛\U000e0100", "葛", True),
        ("10²", "102", False),
        ("H₂", "H2", False),
        ("é", "e", False),
    ],
)
def test_comparable(text, other, same):
    assert (comparable(text) == comparable(other)) is same
    assert unicodedata.is_normalized("NFC", comparable(text))


def test_the_key_of_a_text_in_nfc_is_its_words_case_folded():
    for text in (" 中文  A\n", "Été, ＡＢＣ！", "plain"):
        assert same_text_key(text) == " ".join(text.split()).casefold()
        assert same_text_key(unicodedata.normalize("NFD", text)) == same_text_key(text)


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["质量很好，下次还会买"], True),
        (["手机 iPhone 很好用", "good"], True),
        (["ひらがなとカタカナ"], True),
        (["한국어 리뷰"], True),
        (["A fine film.", "très bien", "Отличный фильм"], False),
        (["The word 好 means good"], False),
        (["12345 !!", ""], False),
        (["ภาษาไทยไม่เว้นวรรค"], True),
        (["नमस्ते दुनिया"], False),
        ([], False),
    ],
)
def test_written_in_characters(texts, expected):
    assert written_in_characters(texts) is expected


def test_written_in_the_characters_of_some_scripts():
    assert not written_in_characters(["한국어 리뷰"], HAN + KANA)
    assert written_in_characters(["質が良い"], HAN + KANA)
