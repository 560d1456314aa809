"""Private byte codes of ids, with which programs write special tokens into a text.

A mark is the byte FE and eight digits of base 6, the bytes F8 to FD. Valid UTF-8 has none of them, so cleaned text
never has a mark, whatever a user writes.
"""

import tensorflow as tf

_LEAD = b"\xfe"
_FIRST_DIGIT, _BASE, _NUM_DIGITS = 0xF8, 6, 8
_NO_ID = _BASE**_NUM_DIGITS - 1


def special_mark(token_id: int) -> bytes:
    r"""The mark of an id.

    >>> special_mark(7)
    b'\xfe\xf8\xf8\xf8\xf8\xf8\xf8\xf9\xf9'
    """
    digits = (token_id // _BASE**place % _BASE for place in reversed(range(_NUM_DIGITS)))
    return _LEAD + bytes(_FIRST_DIGIT + digit for digit in digits)


def split_marks(text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
    r"""Splits each text before its marks.

    >>> split_marks([b"a" + special_mark(7) + b"b", b""])
    [["a", "b"], [""]], [-1, 7, -1]

    Args:
        text: string [B].
    Returns:
        RaggedTensor string [B, (P)] of texts without marks, of which the first of each row follows none; and the id of
        the mark before each, int32 [P of all rows], or -1.
    """
    marked = tf.strings.split(special_mark(_NO_ID) + text, _LEAD)[:, 1:]
    flat = marked.flat_values
    digits = tf.io.decode_raw(tf.strings.substr(flat, 0, _NUM_DIGITS), tf.uint8)
    digits = tf.reshape(tf.cast(digits, tf.int32) - _FIRST_DIGIT, [-1, _NUM_DIGITS])
    ids = tf.reduce_sum(digits * [_BASE**place for place in reversed(range(_NUM_DIGITS))], axis=1)
    parts = tf.strings.substr(flat, _NUM_DIGITS, tf.int32.max)
    return marked.with_flat_values(parts), tf.where(tf.equal(ids, _NO_ID), -1, ids)
