"""Hashed n-grams of characters or words, in the graph with core ops alone (the hashing trick; Weinberger et al., 2009).

    NgramHasher("characters", 2**18)(["很好"]) -> ids [[7081, 90417, 31208]], counts [[1, 1, 1]]

There are two blocks of n-grams, each with half of the buckets; BLOCKS says which. In `words`, punctuation marks and
characters of scripts without spaces are words.
"""

from typing import NamedTuple

import tensorflow as tf

from tflm.text.clean_text import clean_text, replace_invalid_utf8

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


class NgramPlaces(NamedTuple):
    """Each occurrence of an n-gram in B texts: int32 [M] each."""

    row: tf.Tensor
    """The text."""
    number: tf.Tensor
    """The place of its bucket among those of `Ngrams.ids` in this row."""
    count: tf.Tensor
    """How often that bucket occurs in the row."""
    first: tf.Tensor
    """Its first character in the text as it is given."""
    last: tf.Tensor
    """Its last character."""


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
        rows, ids = self._hashed(_normal(text), salt)
        return _count(rows, ids, self.num_buckets, tf.size(text, tf.int64))

    def places(self, text: tf.Tensor, salt: int = 0) -> NgramPlaces:
        """Where the n-grams of string [B] are."""
        normal = _normal(text)
        rows, ids = self._hashed(normal, salt)
        keys = rows * self.num_buckets + ids
        distinct, _, counts = tf.unique_with_counts(tf.sort(keys))
        flat = tf.searchsorted(distinct, keys)
        row_first = tf.searchsorted(distinct, rows * self.num_buckets)
        characters = tf.strings.unicode_decode(normal, "UTF-8")
        spans = _character_spans(characters) if self.unit == "characters" else _word_spans(normal, characters)
        first, last = (tf.cast(tf.concat(each, 0), tf.int64) for each in zip(*spans, strict=True))
        origins = _origins(text)
        # A letter whose lower case depends on its neighbours may be longer by itself.
        offset, most = tf.gather(origins.row_starts(), rows), tf.size(origins.flat_values, tf.int64) - 1
        first, last = (
            tf.gather(origins.flat_values, tf.minimum(offset + place, most)) for place in (first, last)
        )
        return NgramPlaces(tf.cast(rows, tf.int32), flat - row_first, tf.gather(counts, flat), first, last)

    def _hashed(self, text: tf.Tensor, salt: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows and buckets of all n-grams, int64 [M] each."""
        blocks = _of_characters(text, salt) if self.unit == "characters" else _of_words(text, salt)
        half, rows, ids = self.num_buckets // 2, [], []
        for block, (row, hashes) in enumerate(blocks):
            rows.append(row)
            ids.append(hashes * _MIX % _PRIME % half + half * block)
        return tf.concat(rows, 0), tf.concat(ids, 0)


def _normal(text: tf.Tensor) -> tf.Tensor:
    """What n-grams are taken of, string [B]."""
    text = tf.strings.strip(tf.strings.regex_replace(_half_width(clean_text(text, None, True)), r"\s+", " "))
    return tf.strings.substr(text, 0, MOST_CHARACTERS, unit="UTF8_CHAR")


def _origins(text: tf.Tensor) -> tf.RaggedTensor:
    """For each character of `_normal` that of the text: int32 [B, (N)]. There may be one more at the end."""
    characters = tf.strings.unicode_split(replace_invalid_utf8(text), "UTF-8")
    rows, normal = characters.value_rowids(), _half_width(clean_text(characters.flat_values, None, True))
    is_blank = tf.strings.regex_full_match(normal, r"\s")
    begins = tf.not_equal(rows, tf.concat([rows[:1] - 1, rows[:-1]], 0))
    follows = begins | tf.concat([is_blank[:1], is_blank[:-1]], 0)  # another blank, or the beginning
    lengths = tf.where(is_blank & follows, 0, tf.strings.length(normal, unit="UTF8_CHAR"))
    places = tf.range(tf.size(rows, tf.int64)) - tf.gather(characters.row_starts(), rows)
    return tf.RaggedTensor.from_value_rowids(
        tf.cast(tf.repeat(places, lengths), tf.int32),
        tf.repeat(rows, lengths),
        tf.size(text, tf.int64),
        validate=False,
    )


_Span = tuple[tf.Tensor, tf.Tensor]  # first and last character of n-grams, in their row


def _character_spans(characters: tf.RaggedTensor) -> list[_Span]:
    """Of the n-grams of `_of_characters`, in their order."""
    starts = tf.gather(characters.row_starts(), characters.value_rowids())
    return [
        (begin, begin + n - 1)
        for begin, n in ((p - tf.gather(starts, p), n) for p, n in _begins(characters, 1, 3))
    ]


def _word_spans(text: tf.Tensor, characters: tf.RaggedTensor) -> list[_Span]:
    """Of the n-grams of `_of_words`, in their order."""
    words = _words(text)
    length = tf.strings.length(words.flat_values, unit="UTF8_CHAR")
    end = tf.cumsum(tf.cast(length, tf.int64))
    # Words have all characters but spaces, in their order.
    solid = tf.where(tf.not_equal(characters.flat_values, ord(" ")))[:, 0]
    in_row = tf.range(tf.size(characters.flat_values, tf.int64)) - tf.gather(
        characters.row_starts(), characters.value_rowids()
    )
    place_of = tf.gather(in_row, solid)
    first, last = end - tf.cast(length, tf.int64), end - 1
    spans = [
        (tf.gather(place_of, tf.gather(first, word)), tf.gather(place_of, tf.gather(last, word + n - 1)))
        for word, n in _begins(words, 1, 2)
    ]
    spaced = tf.strings.unicode_decode(tf.strings.join([" ", words.flat_values, " "]), "UTF-8")
    for place, n in _begins(spaced, 2, 5):
        word = tf.gather(spaced.value_rowids(), place)
        local = place - tf.gather(spaced.row_starts(), word)  # 0 is the space before the word
        most = tf.cast(tf.gather(length, word), tf.int64) - 1
        begin, stop = tf.maximum(local - 1, 0), tf.minimum(local + n - 2, most)
        spans.append(tuple(tf.gather(place_of, tf.gather(first, word) + each) for each in (begin, stop)))
    return spans


def _begins(units: tf.RaggedTensor, least: int, most: int) -> list[tuple[tf.Tensor, int]]:
    """The first unit of each n-gram that `_hashes` gives, int64 [M], and n."""
    ends = tf.gather(units.row_splits[1:], units.value_rowids())
    places = tf.range(tf.size(units.flat_values, tf.int64))
    return [(tf.boolean_mask(places, places + n <= ends), n) for n in range(least, most + 1)]


def _of_characters(text: tf.Tensor, salt: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    characters = tf.cast(tf.strings.unicode_decode(text, "UTF-8"), tf.int64)
    one, two, three = _hashes(characters, 1, 3, salt)
    return [_join(one, two), three]


def _of_words(text: tf.Tensor, salt: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    words = _words(text)
    known = words.with_flat_values(tf.strings.to_hash_bucket_fast(words.flat_values, _PRIME))
    spaced = tf.strings.join([" ", words.flat_values, " "])
    characters = tf.cast(tf.strings.unicode_decode(spaced, "UTF-8"), tf.int64)
    within = [
        (tf.gather(words.value_rowids(), word), hashes) for word, hashes in _hashes(characters, 2, 5, salt)
    ]
    return [_join(*_hashes(known, 1, 2, salt)), _join(*within)]


def _words(text: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.split(tf.strings.regex_replace(text, _SINGLE, r" \1 "))


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
