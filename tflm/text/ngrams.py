"""Hashed n-grams of characters or words, in the graph with core ops alone (the hashing trick; Weinberger et al., 2009).

    NgramHasher("characters", 2**18)(["很好"]) -> ids [[7081, 90417, 31208]], counts [[1, 1, 1]]

There are two blocks of n-grams, each with half of the buckets; BLOCKS says which. In `words`, punctuation marks and
characters of scripts without spaces are words.
"""

from typing import NamedTuple

import tensorflow as tf

from tflm.text.clean_text import clean_text

UNITS = ("characters", "words")
BLOCKS = {
    "characters": ("1 and 2 characters", "3 characters"),
    "words": ("1 and 2 words", "2 to 5 characters within words"),
}
MOST_CHARACTERS = 4000
"""Of a text; what follows has no n-grams."""

_PRIME = 2**31 - 1  # products of two numbers below it fit into int64
_FACTOR, _MIX = 1_103_515_245, 1_618_033_989
# Letters with their marks, digits; a mark of punctuation or a character of a script without spaces is a word.
_SINGLE = r"([^\pL\pM\pN\s]|[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Myanmar}])"


class Ngrams(NamedTuple):
    """The distinct n-grams of texts."""

    ids: tf.RaggedTensor
    """int32 [B, (N)]: the bucket plus 1, in ascending order; those of the first block are at most half the buckets."""
    counts: tf.RaggedTensor
    """int32 [B, (N)]: how often each occurs in the text."""


class NgramHasher:
    """The n-grams of texts by the numbers of their buckets.

    Texts are in lower case, with full-width forms as half-width ones and runs of spaces as one space. A text without
    n-grams has an empty row.

    Args:
        unit: one of UNITS.
        num_buckets: int, a multiple of 2.
    Raises:
        ValueError: another unit.
    """

    def __init__(self, unit: str, num_buckets: int) -> None:
        if unit not in UNITS:
            raise ValueError(f"n-grams are of {' or '.join(UNITS)}; got {unit!r}.")
        self.unit, self.num_buckets = unit, num_buckets

    def __call__(self, text: tf.Tensor, salt: int = 0) -> Ngrams:
        """The n-grams of string [B]; with another salt the same n-gram has another id."""
        text = tf.strings.strip(
            tf.strings.regex_replace(_half_width(clean_text(text, None, True)), r"\s+", " ")
        )
        text = tf.strings.substr(text, 0, MOST_CHARACTERS, unit="UTF8_CHAR")
        blocks = _of_characters(text, salt) if self.unit == "characters" else _of_words(text, salt)
        half, rows, ids = self.num_buckets // 2, [], []
        for block, (row, hashes) in enumerate(blocks):
            rows.append(row)
            ids.append(hashes * _MIX % _PRIME % half + half * block)
        return _count(tf.concat(rows, 0), tf.concat(ids, 0), self.num_buckets, tf.size(text, tf.int64))


def _of_characters(text: tf.Tensor, salt: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    characters = tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int64)
    one, two, three = _hashes(characters, 1, 3, salt)
    return [_join(one, two), three]


def _of_words(text: tf.Tensor, salt: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    words = tf.strings.split(tf.strings.regex_replace(text, _SINGLE, r" \1 "))
    known = words.with_flat_values(tf.strings.to_hash_bucket_fast(words.flat_values, _PRIME))
    spaced = tf.strings.join([" ", words.flat_values, " "])
    characters = tf.cast(tf.strings.unicode_decode(spaced, "UTF-8"), tf.int64)
    within = [
        (tf.gather(words.value_rowids(), word), hashes) for word, hashes in _hashes(characters, 2, 5, salt)
    ]
    return [_join(*_hashes(known, 1, 2, salt)), _join(*within)]


def _half_width(text: tf.Tensor) -> tf.Tensor:
    """string [B] with ASCII in place of its full-width forms (U+FF01 to U+FF5E) and of the wide space (U+3000)."""
    characters = tf.strings.unicode_decode(text, "UTF-8")
    codes = characters.flat_values
    codes = tf.where((codes >= 0xFF01) & (codes <= 0xFF5E), codes - 0xFEE0, codes)
    codes = tf.where(tf.equal(codes, 0x3000), ord(" "), codes)
    return tf.strings.unicode_encode(characters.with_flat_values(codes), "UTF-8")


def _hashes(units: tf.RaggedTensor, least: int, most: int, salt: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """For each n from `least` to `most` the rows int64 [N] and the hashes int64 [N] of all n-grams.

    The hash is a polynomial modulo a prime (Karp and Rabin, 1987).

    Args:
        units: int64 [B, (T)], below the prime.
    """
    values, row = units.flat_values, units.value_rowids()
    ends = tf.gather(units.row_splits[1:], row)
    places = tf.range(tf.size(values, tf.int64))
    found, hashes = [], tf.fill(tf.shape(values), tf.constant(salt + 1, tf.int64))
    for n in range(1, most + 1):
        following = tf.roll(values, 1 - n, 0)  # those beyond the end of a row are left out
        hashes = (hashes * _FACTOR + following + n) % _PRIME
        is_whole = places + n <= ends
        if n >= least:
            found.append((tf.boolean_mask(row, is_whole), tf.boolean_mask(hashes, is_whole)))
    return found


def _join(*parts: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    rows, hashes = zip(*parts, strict=True)
    return tf.concat(rows, 0), tf.concat(hashes, 0)


def _count(rows: tf.Tensor, ids: tf.Tensor, num_buckets: int, num_rows: tf.Tensor) -> Ngrams:
    """Distinct ids of each row with their counts."""
    keys = tf.sort(rows * num_buckets + ids)
    distinct, _, counts = tf.unique_with_counts(keys)
    lengths = tf.math.bincount(
        tf.cast(distinct // num_buckets, tf.int32), minlength=tf.cast(num_rows, tf.int32)
    )
    lengths = tf.cast(lengths, tf.int64)
    distinct = tf.cast(distinct % num_buckets, tf.int32) + 1
    return Ngrams(
        tf.RaggedTensor.from_row_lengths(distinct, lengths, validate=False),
        tf.RaggedTensor.from_row_lengths(counts, lengths, validate=False),
    )
