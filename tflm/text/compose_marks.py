"""Composition of combining marks (e + accent -> é), in graph with core ops only.

Byte and character tokenizers do not normalize by default, since NFC needs an op of tensorflow-text, and a character
model trained on é does not know its decomposed form (NFD). Here NFC composition is a lookup table.
"""

import functools
import itertools
import sys
import unicodedata
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tflm.text.tokenizer import Tokenizer

_MOST_MARKS = 3  # of one character


def compose_known(tokenizer: Tokenizer, units: tf.Tensor) -> tf.Tensor:
    """Composes units of a letter and combining marks to the single character of NFC.

    Only to `Tokenizer.composed_spellings`: of a character tokenizer the characters of its vocabulary, so that a
    vocabulary in NFD keeps working. Units are unchanged for tokenizers with Unicode normalization, and if NFC has no
    single character; for a byte tokenizer also for Hangul syllables.

    >>> compose_known(byte_tokenizer, ["e\\u0301", "a", "मि"])
    ["é", "a", "मि"]

    Args:
        tokenizer: any tokenizer.
        units: string [U], characters with or without combining marks.
    Returns:
        string [U].
    """
    table = {} if tokenizer.config.normalization_form else tokenizer.composed_spellings()
    return _look_up(table, units) if table else units


def _look_up(table: dict[str, str], units: tf.Tensor) -> tf.Tensor:
    """Replaces units that are in the table, by binary search on hashes, which needs no hash table resource."""
    with tf.init_scope():
        hashes = tf.strings.to_hash_bucket_fast(list(table), sys.maxsize).numpy()
    order = np.argsort(hashes)
    keys, values = (
        tf.constant(np.array(side, object)[order]) for side in (list(table), list(table.values()))
    )
    wanted = tf.strings.to_hash_bucket_fast(units, sys.maxsize)
    place = tf.minimum(tf.searchsorted(tf.constant(hashes[order]), wanted), len(table) - 1)
    return tf.where(tf.equal(tf.gather(keys, place), units), tf.gather(values, place), units)


@functools.cache
def every_spelling() -> dict[str, str]:
    """The table for byte tokenizers, without Hangul: 11,172 syllables are too many for a graph."""
    return spellings_of(map(chr, [*range(0xC0, 0xAC00), *range(0xF900, 0x12000)]))


def spellings_of(characters: Iterable[str]) -> dict[str, str]:
    """Maps every canonically equivalent decomposed spelling to its composed character.

    >>> spellings_of("aé")
    {'é': 'é'}
    """
    found = {}
    for character in characters:
        letter, *marks = list(unicodedata.normalize("NFD", character))
        if not 1 <= len(marks) <= _MOST_MARKS:
            continue
        for order in itertools.permutations(marks):
            for count in range(len(order)):
                first = unicodedata.normalize("NFC", letter + "".join(order[:count]))
                spelling = first + "".join(order[count:])
                if unicodedata.normalize("NFC", spelling) == character != spelling:
                    found[spelling] = character
    return found
