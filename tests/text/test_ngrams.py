"""Hashed n-grams: the distinct n-grams of texts against Python, and a hash in its arithmetic."""

import collections
import re

import numpy as np
import pytest
import tensorflow as tf

from tflm.text.ngrams import MOST_CHARACTERS, NgramHasher

BUCKETS = 2**30  # no collisions
TEXTS = ["很好，很好", "", "Good  film, GOOD film", "ＡB　c", "a", "我用iPhone 15，不错!"]


def sequences(units, least, most):
    return [tuple(units[i : i + n]) for n in range(least, most + 1) for i in range(len(units) - n + 1)]


def cleaned(text):
    wide = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
    return " ".join(text.lower().translate(wide).split())


def of_characters(text):
    text = cleaned(text)
    return sequences(text, 1, 2), sequences(text, 3, 3)


def of_words(text):
    words = re.sub(r"([^\w\s]|[\u4e00-\u9fff])", r" \1 ", cleaned(text)).split()
    return sequences(words, 1, 2), [each for word in words for each in sequences(f" {word} ", 2, 5)]


def hashed(unit, texts, salt=0, buckets=BUCKETS):
    return NgramHasher(unit, buckets)(tf.constant(texts, tf.string), salt)


@pytest.mark.parametrize("unit, reference", [("characters", of_characters), ("words", of_words)])
def test_the_distinct_ngrams_with_their_counts(unit, reference):
    found = hashed(unit, TEXTS)
    for text, ids, counts in zip(TEXTS, found.ids.to_list(), found.counts.to_list(), strict=True):
        assert ids == sorted(set(ids)) and all(1 <= each <= BUCKETS for each in ids)
        for number, block in enumerate(reference(text)):
            inside = [count for i, count in zip(ids, counts) if (i > BUCKETS // 2) == (number == 1)]
            assert sorted(inside) == sorted(collections.Counter(block).values()), (text, number)


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_a_text_has_the_same_ids_alone(unit):
    together, small = hashed(unit, TEXTS, buckets=64), NgramHasher(unit, 64)
    for row, text in enumerate(TEXTS):
        assert small(tf.constant([text])).ids.to_list()[0] == together.ids[row].numpy().tolist()
    assert hashed(unit, []).ids.to_list() == []


def test_the_hash_of_a_character():
    found = hashed("characters", ["好"], buckets=2**18).ids.to_list()
    expected = (1_103_515_245 + ord("好") + 1) % (2**31 - 1) * 1_618_033_989 % (2**31 - 1) % 2**17 + 1
    assert found == [[expected]]


def test_another_salt_gives_other_ids():
    one, other = (set(hashed("words", ["a good film"], salt).ids.flat_values.numpy()) for salt in (0, 1))
    assert len(one) == len(other) and not one & other


def test_the_end_of_a_very_long_text_has_no_ngrams():
    long = "好" * MOST_CHARACTERS
    assert np.array_equal(hashed("characters", [long + "坏"]).ids[0], hashed("characters", [long]).ids[0])
    with pytest.raises(ValueError, match="n-grams are of characters or words; got 'bytes'"):
        NgramHasher("bytes", 8)


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_where_ngrams_are(unit):
    """The characters of an occurrence, by themselves, have the same n-gram; and each is counted."""
    texts = [*TEXTS, "  İstanbul \u3000 ＡＢ  好 "]
    hasher = NgramHasher(unit, BUCKETS)
    ids = hasher(tf.constant(texts)).ids.to_list()
    row, number, count, first, last = (each.numpy() for each in hasher.places(tf.constant(texts)))
    parts = [texts[n][a : b + 1] for n, a, b in zip(row, first, last, strict=True)]
    alone = hasher(tf.constant(parts)).ids.to_list()
    for place, (text_number, part) in enumerate(zip(row, parts, strict=True)):
        found = ids[text_number][number[place]]
        assert 0 <= first[place] <= last[place] < len(texts[text_number])
        if part != part.strip():
            assert unit == "characters", "a text of its own would lose its spaces"
        elif found <= BUCKETS // 2 or unit == "characters":
            assert found in alone[place], (texts[text_number], part)
        else:
            assert " " not in part, "within a word"
    for text_number, known in enumerate(ids):
        own = row == text_number
        assert sorted(set(number[own].tolist())) == list(range(len(known)))
        counted = collections.Counter(number[own].tolist())
        assert all(counted[n] == c for n, c in zip(number[own].tolist(), count[own].tolist(), strict=True))
