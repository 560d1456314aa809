"""Character offsets of tokens in the original text."""

import tensorflow as tf

from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.compose_marks import compose_known
from tflm.text.tokenizer import Tokenizer

# Characters that normalization may merge into the previous one: marks, Hangul vowels and finals, half-width forms.
_MARK = r"[\p{M}\x{E33}\x{EB3}\x{1160}-\x{11FF}\x{D7B0}-\x{D7FF}\x{3131}-\x{318E}\x{FF9E}-\x{FFDC}]"
# Characters that extend a grapheme cluster: marks such as accents and vowel signs, with AM of Thai and Lao; Hangul
# vowels and finals; half-width sound marks (UAX #29, Grapheme_Cluster_Break = Extend, SpacingMark, V, T).
_EXTENDING = r"[\p{M}\x{E33}\x{EB3}\x{1160}-\x{11FF}\x{D7B0}-\x{D7FF}\x{FF9E}\x{FF9F}]"
_SPACE = r"[\s\p{Z}]+"


def token_offsets(tokenizer: Tokenizer, text: tf.Tensor) -> tuple[tf.RaggedTensor, ...]:
    """Tokenizes text and returns the offsets of each token in the original, not normalized, text. For a byte or
    character tokenizer without Unicode normalization, combining marks are composed, see `compose_known`.

    The text is split into units that are normalized separately: characters with their combining marks (e + accent,
    which may become é; न + vowel sign), so that no span ends inside one. Each byte of the normalized text belongs to
    one unit, and each token to its bytes. Spaces at the ends of a token are excluded (" York"), unless the token is all
    spaces. (With `case_fold`, a word-final capital sigma becomes σ here but ς in `tokenize`.)

        "to York 😀", pieces "to", " York", " ", and four bytes
        starts [0, 3, 7, 8, -1, -1, -1]   ends [2, 7, 8, 9, 9, 9, 9]

    Args:
        tokenizer: any tokenizer.
        text: string [B]; invalid UTF-8 counts as the U+FFFDs that replace it.
    Returns:
        Three RaggedTensors int32 [B, (T)]: token ids; starts, -1 for a token that begins inside a unit of the previous
        token; and ends, equal for all tokens that share units.
    """
    with tf.device("CPU:0"):
        units, rows, unit_starts, unit_ends = _units(tokenizer, text)
        clean = tokenizer.spelled(compose_known(tokenizer, tokenizer._clean(units)))
        ids, begins, ends = _cut(tokenizer, clean, rows, tf.size(text, tf.int64))
        unit_bytes = tf.cumsum(tf.strings.length(clean))  # end of each unit
        first = tf.searchsorted(unit_bytes, begins, side="right")
        last = tf.searchsorted(unit_bytes, tf.maximum(ends - 1, begins), side="right")
        first, last = _without_spaces(tf.strings.regex_full_match(units, _SPACE), first, last)
        starts, ends = tf.gather(unit_starts, first), tf.gather(unit_ends, last)
        before = tf.concat([ends[:1], ends[:-1]], axis=0)
        leads = changes(ids.value_rowids()) | (starts >= before)
        group = tf.cumsum(tf.cast(leads, tf.int32)) - 1
        ends = tf.gather(tf.math.unsorted_segment_max(ends, group, tf.size(group)), group)
        return ids, ids.with_flat_values(tf.where(leads, starts, -1)), ids.with_flat_values(ends)


def _units(tokenizer: Tokenizer, text: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Units string [U], characters with their combining marks and what normalization changes together with them; their
    rows int64 [U]; their starts and ends in the row, int32 [U]."""
    characters = tf.strings.unicode_split(replace_invalid_utf8(text), "UTF-8")
    rows, texts = characters.value_rowids(), characters.flat_values
    begins = changes(rows) | ~tf.strings.regex_full_match(texts, _MARK)
    clusters, number = _joined(texts, begins)
    unchanged = tf.gather(tf.equal(tokenizer._clean(clusters), clusters), number)
    begins |= unchanged & ~tf.strings.regex_full_match(texts, _EXTENDING)
    units, _ = _joined(texts, begins)
    first = tf.cast(tf.where(begins)[:, 0], tf.int32)
    end = tf.concat([first[1:], tf.shape(texts)], axis=0)[: tf.size(first)]
    rows = tf.boolean_mask(rows, begins)
    row_start = tf.gather(tf.cast(characters.row_starts(), tf.int32), rows)
    return units, rows, first - row_start, end - row_start


def _joined(texts: tf.Tensor, begins: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins each text to the previous one unless it begins a group; returns the groups and the group of each text."""
    number = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    groups = tf.RaggedTensor.from_value_rowids(texts, number, tf.math.count_nonzero(begins), validate=False)
    return tf.strings.reduce_join(groups, axis=-1), number


def _cut(
    tokenizer: Tokenizer, clean: tf.Tensor, rows: tf.Tensor, num_rows: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
    """Ids int32 [B, (T)], and the start and end of each token, int32 [N], as byte offsets over all rows.

    With byte fallback, SentencePiece assigns the whole character to its last byte token.
    """
    text = tf.strings.reduce_join(
        tf.RaggedTensor.from_value_rowids(clean, rows, num_rows, validate=False), axis=-1
    )
    ids, begins, ends = tokenizer.encode_with_offsets(text)
    row_bytes = tf.strings.length(text)
    row_start = tf.gather(tf.cumsum(row_bytes, exclusive=True), ids.value_rowids())
    return ids, tf.cast(begins, tf.int32) + row_start, tf.cast(ends, tf.int32) + row_start


def _without_spaces(is_space: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first and last non-space unit of each token; unchanged for tokens of spaces only."""
    solid = tf.cast(tf.where(~is_space)[:, 0], tf.int32)
    count = tf.cumsum(tf.cast(~is_space, tf.int32))  # up to and including each unit
    after = tf.concat([solid, tf.shape(is_space)], axis=0)
    next_solid = tf.gather(after, tf.gather(count - tf.cast(~is_space, tf.int32), first))
    last_solid = tf.gather(tf.concat([[-1], solid], axis=0), tf.gather(count, last))
    blank = next_solid > last
    return tf.where(blank, first, next_solid), tf.where(blank, last, last_solid)


def changes(values: tf.Tensor) -> tf.Tensor:
    """bool [N]: whether a value differs from the previous one; True for the first."""
    return tf.not_equal(values, tf.concat([values[:1] - 1, values[:-1]], axis=0))
