"""Letters with their marks as one character, beside Python's NFC."""

import unicodedata

import pytest
import tensorflow as tf

from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.compose_marks import compose_known


def composed(tokenizer, *units):
    return [unit.decode() for unit in compose_known(tokenizer, tf.constant(units, tf.string)).numpy()]


def byte_tokenizer(**settings):
    return train_tokenizer(TokenizerConfig(kind="byte", **settings), [])


@pytest.mark.parametrize("text", ["éàçñåžőđ", "ậềữḗǟ", "がゞポ", "ЙйЁ", "άΰ", "ড়"])
def test_equals_nfc(text):
    units = [unicodedata.normalize("NFD", character) for character in unicodedata.normalize("NFC", text)]
    expected = [unicodedata.normalize("NFC", unit) for unit in units]
    assert composed(byte_tokenizer(), *units) == expected


def test_spellings_in_any_canonical_order():
    spellings = ["a\u0323\u0302", "a\u0302\u0323", "\u00e2\u0323", "\u1ea1\u0302", "\u1ead"]
    assert composed(byte_tokenizer(), *spellings) == ["\u1ead"] * 5


def test_what_has_no_such_character_stays():
    units = ["a", "", "中", "😀", "मि", "x\u0301", "e\u0301\u0316\u0317\u0301", "\u0301"]
    assert composed(byte_tokenizer(), *units) == units
    assert composed(byte_tokenizer()) == []


def test_only_characters_of_the_vocabulary():
    tokenizer = train_tokenizer(TokenizerConfig(kind="character", vocab_size=300), ["é한"])
    assert composed(tokenizer, "e\u0301", "a\u0301", "\u1112\u1161\u11ab") == ["é", "a\u0301", "한"]
    plain = train_tokenizer(TokenizerConfig(kind="character", vocab_size=300), ["abc"])
    assert composed(plain, "e\u0301") == ["e\u0301"]


def test_a_form_of_its_own_is_kept():
    assert composed(byte_tokenizer(normalization="nfc"), "e\u0301") == ["e\u0301"]


def test_in_a_graph():
    tokenizer = byte_tokenizer()
    function = tf.function(
        lambda units: compose_known(tokenizer, units), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    assert function(tf.constant(["e\u0301", "b"])).numpy().tolist() == ["é".encode(), b"b"]
