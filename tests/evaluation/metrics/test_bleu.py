"""BLEU and chrF as sacreBLEU gives them, with the tokenization that the references ask for."""

import math
import sys
import unicodedata

import numpy as np
import pytest
import sacrebleu

from tflm.errors import UserError
from tflm.evaluation import bleu
from tflm.evaluation.metrics.bleu import check_tokenizer

REFERENCES = ["A man in a blue shirt is standing on a ladder.", "Two dogs play in the snow today.", "Yes."]
PREDICTIONS = ["A man in a blue shirt stands on a ladder.", "Two dogs are playing in the snow.", "Yes."]
CHINESE = ["今天天气很好，我们去公园。", "他在读一本 Python 书。"]


def test_english_equals_sacrebleu():
    found = bleu(REFERENCES, PREDICTIONS)
    assert found["bleu"].score.mean == sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score
    assert found["chrf"].score.mean == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
    assert "tok:13a" in found["bleu"].signature and "bs:1000|seed:12345" in found["bleu"].signature
    assert "nc:6|nw:0" in found["chrf"].signature
    for name, single in (("bleu", sacrebleu.sentence_bleu), ("chrf", sacrebleu.sentence_chrf)):
        score = found[name]
        expected = [single(p, [r]).score for r, p in zip(REFERENCES, PREDICTIONS)]
        np.testing.assert_allclose(score.segments, expected)
        assert score.score.low < score.score.high


def test_a_hand_worked_score():
    # Four of five words, and 3 of 4 pairs, 2 of 3 triples, 1 of 2 fours; no brevity penalty.
    found = bleu(["the cat sat down there"], ["the cat sat down here"])
    assert found["bleu"].score.mean == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert found["bleu"].score.low == found["bleu"].score.high, "one example alone leaves nothing to draw"


def test_chinese_is_cut_into_characters():
    found = bleu(CHINESE, ["今天天气很好，我们去公司。", "他在读一本 Python 书。"])
    assert "tok:zh" in found["bleu"].signature
    # One character of 21 tokens is wrong (13 of the first text, 8 of the second); so are 2 of 19 pairs, 2 of 17
    # triples and 2 of 15 fours, for it is the last but one of its text.
    expected = math.exp(np.mean(np.log([20 / 21, 17 / 19, 15 / 17, 13 / 15])))
    assert found["bleu"].score.mean == pytest.approx(100 * expected)
    np.testing.assert_allclose(found["bleu"].segments[1], 100.0)


@pytest.mark.parametrize(
    "reference, expected",
    [
        ("一个 Transformer 模型", "zh"),
        ("The word 好 means good", "13a"),
        ("日本語のテキストです", "char"),
        ("ภาษาไทยไม่เว้นวรรค", "char"),
        ("ພາສາລາວ", "char"),
        ("ភាសាខ្មែរ", "char"),
        ("မြန်မာစာ", "char"),
        ("नमस्ते दुनिया", "13a"),
        ("한국어 문장입니다", "13a"),
        ("!", "13a"),
    ],
)
def test_the_references_decide(reference, expected):
    assert f"tok:{expected}" in bleu([reference], [reference])["bleu"].signature


@pytest.mark.parametrize(
    "reference, prediction",
    [("今日はとても良い天気です", "今日はとても良い天候です"), ("วันนี้อากาศดีมาก", "วันนี้อากาศดีจัง")],
)
def test_scripts_without_spaces_have_more_than_zero(reference, prediction):
    assert 30 < bleu([reference], [prediction])["bleu"].score.mean < 100


def test_a_text_is_the_same_in_nfc_and_nfd():
    text = "Un café très français à côté"
    found = bleu([text], [unicodedata.normalize("NFD", text)])
    for score in found.values():
        assert score.score.mean == pytest.approx(100.0)
        assert score.signature.endswith("|unicode:nfc")
    assert "unicode" not in bleu([text], [text])["bleu"].signature


def test_a_tokenizer_without_its_package(monkeypatch):
    def missing(**_):
        raise RuntimeError("mecab")

    monkeypatch.setattr("sacrebleu.metrics.BLEU.__init__", lambda self, **_: missing())
    with pytest.raises(UserError, match=r"'ja-mecab' needs another package: pip install 'sacrebleu\[ja\]'"):
        check_tokenizer("ja-mecab")


def test_a_tokenization_may_be_given():
    assert "tok:char" in bleu(["日本"], ["日本"], tokenize="char")["bleu"].signature


def test_refusals(monkeypatch):
    with pytest.raises(
        UserError, match=r"2 references and 1 predictions; expected equal numbers, at least one each"
    ):
        bleu(["a", "b"], ["a"])
    with pytest.raises(UserError, match=r"0 references and 0 predictions"):
        bleu([], [])
    with pytest.raises(UserError, match=r"tokenize is one of 13a, .*zh; got 'chinese'"):
        bleu(["a"], ["a"], tokenize="chinese")
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(UserError, match=r"need the package sacrebleu: pip install 'tflm\[eval\]'"):
        bleu(["a"], ["a"])
