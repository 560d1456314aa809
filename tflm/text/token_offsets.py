"""Which characters of a text, as it was given, each token stands for."""

import tensorflow as tf

from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.tokenizer import Tokenizer

# What may melt into the character before it: marks, Hangul vowels and finals; under NFKC also those of half width.
_MARK = r"[\p{M}\x{1160}-\x{11FF}\x{D7B0}-\x{D7FF}\x{3131}-\x{318E}\x{FF9E}-\x{FFDC}]"
_SPACE = r"[\s\p{Z}]+"


def token_offsets(tokenizer: Tokenizer, text: tf.Tensor) -> tuple[tf.RaggedTensor, ...]:
    """The tokens of `tokenizer.tokenize(text)`, and the characters of the text as it was given that each stands for.

    The text is cut into units that are cleaned one by one: characters, and where cleaning changes a character with
    its marks (e + accent -> é) these together. So each byte of the clean text is known to come from one unit, and each
    token has its bytes. Spaces at a token's ends are not counted (" York"), unless it has nothing else. (With
    `case_fold`, a capital sigma at the end of a word becomes σ here and ς there: it is lowered alone.)

        "to York 😀", pieces "to", " York", " ", and four bytes
        starts [0, 3, 7, 8, -1, -1, -1]   ends [2, 7, 8, 9, 9, 9, 9]

    Args:
        tokenizer: of any kind.
        text: string [B]; of broken UTF-8 the U+FFFDs that stand for it are counted.
    Returns:
        Three RaggedTensors int32 [B, (T)]: token ids; starts, and -1 for a token that begins inside a unit which the
        token before it has begun; ends, the same for all tokens that such units chain together.
    """
    with tf.device("CPU:0"):
        units, rows, unit_starts, unit_ends = _units(tokenizer, text)
        clean = tokenizer._clean(units)
        if tokenizer.config.kind == "sentencepiece":  # which has its own way to write two characters
            from tflm.text.sentencepiece_tokenizer import _SPELLINGS

            for character, spelling in _SPELLINGS:
                clean = tf.strings.regex_replace(clean, character, spelling)
        ids, begins, ends = _cut(tokenizer, clean, rows, tf.size(text, tf.int64))
        unit_bytes = tf.cumsum(tf.strings.length(clean))  # where each ends
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
    """Texts string [U], of one character unless cleaning changes it and its marks together; the row of each, int64
    [U]; its start and end in the row, int32 [U]."""
    characters = tf.strings.unicode_split(replace_invalid_utf8(text), "UTF-8")
    rows, texts = characters.value_rowids(), characters.flat_values
    begins = changes(rows) | ~tf.strings.regex_full_match(texts, _MARK)
    clusters, number = _joined(texts, begins)
    begins |= tf.gather(tf.equal(tokenizer._clean(clusters), clusters), number)
    units, _ = _joined(texts, begins)
    first = tf.cast(tf.where(begins)[:, 0], tf.int32)
    end = tf.concat([first[1:], tf.shape(texts)], axis=0)[: tf.size(first)]
    rows = tf.boolean_mask(rows, begins)
    row_start = tf.gather(tf.cast(characters.row_starts(), tf.int32), rows)
    return units, rows, first - row_start, end - row_start


def _joined(texts: tf.Tensor, begins: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Texts that do not begin a group joined to the one before; and the number of each one's group."""
    number = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    groups = tf.RaggedTensor.from_value_rowids(texts, number, tf.math.count_nonzero(begins), validate=False)
    return tf.strings.reduce_join(groups, axis=-1), number


def _cut(
    tokenizer: Tokenizer, clean: tf.Tensor, rows: tf.Tensor, num_rows: tf.Tensor
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
    """Ids int32 [B, (T)], and where each token begins and ends, int32 [N], in bytes counted through all rows.

    SentencePiece gives the last byte of a character the whole of it, and the others nothing.
    """
    text = tf.strings.reduce_join(
        tf.RaggedTensor.from_value_rowids(clean, rows, num_rows, validate=False), axis=-1
    )
    match tokenizer.config.kind:
        case "sentencepiece":
            ids, begins, ends = tokenizer._model.tokenize_with_offsets(text)
            begins, ends = begins.flat_values, ends.flat_values
        case "wordpiece":
            import tensorflow_text

            from tflm.text.word_split import _LONE
            from tflm.text.word_split import _SPACE as _GAP

            words, first, _ = tensorflow_text.regex_split_with_offsets(text, f"{_GAP}|{_LONE}", _LONE)
            pieces, begins, ends = tokenizer._words_to_pieces.tokenize_with_offsets(words.flat_values)
            ids = words.with_flat_values(pieces).merge_dims(1, 2)
            word = tf.gather(first.flat_values, pieces.value_rowids())
            begins, ends = word + begins.flat_values, word + ends.flat_values
        case _:
            ids = tokenizer._encode(text)
            if tokenizer.lossless:
                lengths = tf.gather(tf.strings.length(tokenizer._pieces), ids.flat_values)
            else:  # one token a character
                lengths = tf.strings.length(tf.strings.unicode_split(text, "UTF-8").flat_values)
            return ids, tf.cumsum(lengths, exclusive=True), tf.cumsum(lengths)
    row = tf.gather(tf.cumsum(tf.strings.length(text), exclusive=True), ids.value_rowids())
    return ids, row + tf.cast(begins, tf.int32), row + tf.cast(ends, tf.int32)


def _without_spaces(is_space: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first and the last unit of each token that is no space; as they were where all are."""
    solid = tf.cast(tf.where(~is_space)[:, 0], tf.int32)
    count = tf.cumsum(tf.cast(~is_space, tf.int32))  # up to and with each unit
    after = tf.concat([solid, tf.shape(is_space)], axis=0)
    next_solid = tf.gather(after, tf.gather(count - tf.cast(~is_space, tf.int32), first))
    last_solid = tf.gather(tf.concat([[-1], solid], axis=0), tf.gather(count, last))
    blank = next_solid > last
    return tf.where(blank, first, next_solid), tf.where(blank, last, last_solid)


def changes(values: tf.Tensor) -> tf.Tensor:
    """bool [N]: where a value is not that before it; True at first."""
    return tf.not_equal(values, tf.concat([values[:1] - 1, values[:-1]], axis=0))
