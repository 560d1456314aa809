"""Blanks in a text: where a user leaves them, what a model reads there, and how they are filled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.tasks.features.rows import keep_first
from tflm.text import Tokenizer
from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.token_texts import special_ids

BLANK = "____"
"""Four underscores. Special tokens cannot arise from a text, so this is how a user says where something is missing."""


def split_at_blanks(text: tf.Tensor) -> tf.RaggedTensor:
    """The text around the blanks, one part more than there are blanks.

    >>> split_at_blanks(["I ____ you", "好"])
    [["I ", " you"], ["好"]]

    Args:
        text: string [B].
    Returns:
        RaggedTensor string [B, (P)], valid UTF-8.
    """
    return tf.strings.split(replace_invalid_utf8(text), sep=BLANK)


def tokens_with_marks(
    tokenizer: Tokenizer, parts: tf.RaggedTensor, mark_ids: Sequence[int]
) -> tf.RaggedTensor:
    """Tokens of the parts with a special token between: blank i becomes `mark_ids[i]`, all after the last that.

    Where pieces carry the space before them (" love"), the space before a blank belongs to what is missing, as it
    did in training.

    >>> tokens_with_marks(tokenizer, [["I ", " you"]], [4])
    [[id of "I", 4, id of " you"]]

    Args:
        tokenizer: strings to ids.
        parts: RaggedTensor string [B, (P)], P >= 1.
        mark_ids: at least one.
    Returns:
        RaggedTensor int32 [B, (T)].
    """
    flat = parts.flat_values
    if tokenizer.carries_spaces:
        flat = tf.where(_before_blank(parts), tf.strings.regex_replace(flat, " $", ""), flat)
    place = tf.range(tf.size(flat)) - tf.cast(tf.gather(parts.row_starts(), parts.value_rowids()), tf.int32)
    marks = tf.gather(tf.constant(mark_ids, tf.int32), tf.minimum(place, len(mark_ids) - 1))
    tokens = tf.concat([tokenizer.tokenize(flat), tf.RaggedTensor.from_tensor(marks[:, None])], axis=1)
    rows = tf.RaggedTensor.from_row_splits(tokens, parts.row_splits, validate=False).merge_dims(1, 2)
    return keep_first(rows, tf.cast(rows.row_lengths(), tf.int32) - 1)


def fill_blanks(tokenizer: Tokenizer, parts: tf.RaggedTensor, fillings: tf.RaggedTensor) -> tf.Tensor:
    """The text with its blanks filled; what the user wrote stays as it is.

    >>> fill_blanks(tokenizer, [["I ", " you ", ""]], [[" love"]])
    ["I love you ____"]

    Args:
        tokenizer: that gave the fillings.
        parts: RaggedTensor string [B, (P)].
        fillings: RaggedTensor string [B, (F)]; further blanks stay.
    Returns:
        string [B].
    """
    nothing = tf.RaggedTensor.from_tensor(tf.fill([parts.nrows(), tf.constant(1, tf.int64)], ""))
    filled = tf.concat([_resized(fillings, parts.row_lengths() - 1, BLANK), nothing], axis=1).flat_values
    if tokenizer.carries_spaces:
        filled = tf.where(_space_before_blank(parts), tf.strings.regex_replace(filled, "^ ", ""), filled)
    return tf.strings.reduce_join(parts.with_flat_values(parts.flat_values + filled), axis=-1)


def fillings_with_spaces(
    tokenizer: Tokenizer, parts: tf.RaggedTensor, fillings: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Fillings as a model writes them: where pieces carry spaces, with the one before the blank.

    >>> fillings_with_spaces(tokenizer, [["I ", " you"]], [["love"]])
    [[" love"]]

    Args:
        tokenizer: of the model.
        parts: RaggedTensor string [B, (P)], the text around the blanks.
        fillings: RaggedTensor string [B, (F)].
    """
    if not tokenizer.carries_spaces:
        return fillings
    spaced = _resized(begin_words(tokenizer, parts), fillings.row_lengths(), False).flat_values
    flat = fillings.flat_values
    spaced &= ~tf.strings.regex_full_match(flat, r"(?s) .*")
    return fillings.with_flat_values(tf.where(spaced, " " + flat, flat))


def begin_words(tokenizer: Tokenizer, parts: tf.RaggedTensor) -> tf.RaggedTensor:
    """bool [B, (P - 1)]: which blanks begin a word, by the space before them or, where pieces carry no spaces, by
    the beginning of the text too."""
    begins = _space_before_blank(parts)
    if not tokenizer.carries_spaces:
        begins |= _before_blank(parts) & tf.equal(parts.flat_values, "")
    return keep_first(parts.with_flat_values(begins), tf.cast(parts.row_lengths(), tf.int32) - 1)


def fill_candidates(tokenizer: Tokenizer) -> np.ndarray:
    """bool [2, V]: the tokens that may fill a blank, [0] for one in a word and [1] for one that begins a word.

    They are whole characters, and no special tokens. Where pieces carry spaces, [1] are those with a space and [0]
    those without; else [1] are those that are no suffix, and [0] all.
    """
    texts = tokenizer.piece_texts()
    whole = np.array([bool(text) and _is_utf8(text) for text in texts])
    whole[special_ids(tokenizer)] = False
    if not tokenizer.carries_spaces:
        return np.stack([whole, whole & ~tokenizer.suffix_pieces()])
    spaced = np.array([text.startswith(b" ") for text in texts])
    return np.stack([whole & ~spaced, whole & spaced & np.array([bool(text.strip()) for text in texts])])


def _resized(rows: tf.RaggedTensor, lengths: tf.Tensor, default: Any) -> tf.RaggedTensor:
    """Each row cut, or filled up with `default`, to its length, int64 [B]."""
    lacking = tf.maximum(lengths - rows.row_lengths(), 0)
    more = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(lacking)], default), lacking)
    return tf.concat([keep_first(rows, tf.cast(lengths, tf.int32)), more], axis=1)


def _before_blank(parts: tf.RaggedTensor) -> tf.Tensor:
    """bool [N], for the flat parts: all but the last of each row."""
    row = parts.value_rowids()
    return tf.range(tf.size(row, tf.int64)) + 1 < tf.gather(parts.row_limits(), row)


def _space_before_blank(parts: tf.RaggedTensor) -> tf.Tensor:
    """bool [N], for the flat parts."""
    return _before_blank(parts) & tf.strings.regex_full_match(parts.flat_values, r"(?s).* ")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
