"""Cleaning against Python's own codecs and unicodedata."""

import random
import unicodedata

import pytest
import tensorflow as tf

from tflm.text.clean_text import clean_text, replace_invalid_utf8

SAMPLES = ["e\u0301 ﬁ Ａ，。！？\u3000x", "\ufeffa\x00\x7f\x85\u2028\U0010ffff", "각 각", "①㍿ ½", "ÀÉ Σς"]


def test_invalid_utf8_as_python_does_it():
    rng = random.Random(0)
    texts = [bytes(rng.randrange(256) for _ in range(rng.randrange(12))) for _ in range(500)]
    texts += [b"\xed\xa0\x80", b"\xe4\xbd", b"\xf4\x90\x80\x80", b"\xc0\x80", "完整".encode()]
    replaced = replace_invalid_utf8(tf.constant(texts)).numpy()
    assert [text.decode() for text in replaced] == [text.decode("utf-8", "replace") for text in texts]


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_unicode_forms(form):
    cleaned = clean_text(tf.constant(SAMPLES), form, case_fold=False).numpy()
    assert [text.decode() for text in cleaned] == [unicodedata.normalize(form, text) for text in SAMPLES]


def test_no_form_changes_nothing():
    cleaned = clean_text(tf.constant(SAMPLES), None, case_fold=False).numpy()
    assert [text.decode() for text in cleaned] == SAMPLES


def test_case_fold_keeps_full_width_punctuation():
    text = "ÀÉ STRASSE，。！？\u3000“Ж”"
    cleaned = clean_text(tf.constant([text]), None, case_fold=True).numpy()[0].decode()
    assert cleaned == text.lower() == "àé strasse，。！？\u3000“ж”"
