"""Where the tokens of a model's rows are in the given texts. In graph."""

from typing import NamedTuple

import tensorflow as tf

from tflm.text import Tokenizer
from tflm.text.token_offsets import token_offsets


class TokenPlaces(NamedTuple):
    """Of the tokens of B rows, padded."""

    part: tf.Tensor
    """int32 [B, T]: the number of the text that a token belongs to, from 0; -1 for special tokens and padding."""
    start: tf.Tensor
    """int32 [B, T]: its first character in that text; -1 for a token that begins inside a character of the token
    before, and where `part` is -1."""
    end: tf.Tensor
    """int32 [B, T]: the character after its last one; -1 where `part` is -1."""


def token_places(
    tokenizer: Tokenizer,
    token_ids: tf.Tensor,
    text: tf.Tensor,
    part: int,
    allowed: tf.Tensor,
    prefer_end: tf.Tensor | bool = False,
) -> TokenPlaces:
    """Finds the tokens of a text in the rows that a task made of it: on which diagonal of both sequences most tokens
    are equal. Tokens off that diagonal, such as those of a template, belong to no text.

    >>> token_places(byte_tokenizer, [[1, 107, 2]], ["hij"], 0, allowed=True).part  # 107 is "j"; "hi" was cut
    [[-1, 0, -1]]

    Args:
        token_ids: int32 [B, T], padded.
        text: string [B].
        part: int, the number of the text.
        allowed: bool [B, T], where its tokens may be.
        prefer_end: bool [B], whether the end of the text was kept where a part of it repeats.
    """
    ids, starts, ends = (each.to_tensor(-1) for each in token_offsets(tokenizer, text))
    # One column at least, and ids that no row has beyond the end of a text.
    ids, starts, ends = (tf.pad(each, [[0, 0], [0, 1]], constant_values=-1) for each in (ids, starts, ends))
    length, width = tf.shape(ids)[1], tf.shape(token_ids)[1]
    same = tf.equal(token_ids[:, :, None], ids[:, None, ::-1]) & allowed[:, :, None]
    # Row p shifted by p: column p - i + length - 1 has the diagonal of place p and token i.
    skewed = tf.pad(same, [[0, 0], [0, 0], [0, width]])
    skewed = tf.reshape(skewed, [-1, width * (length + width)])[:, : width * (length + width - 1)]
    counts = tf.math.count_nonzero(
        tf.reshape(skewed, [-1, width, length + width - 1]), axis=1, dtype=tf.int32
    )
    first = tf.argmax(counts, axis=1, output_type=tf.int32)
    last = length + width - 2 - tf.argmax(counts[:, ::-1], axis=1, output_type=tf.int32)
    number = tf.range(width)[None] - (tf.where(prefer_end, first, last) - length + 1)[:, None]
    inside = allowed & (number >= 0) & (number < length)
    number = tf.clip_by_value(number, 0, length - 1)
    inside &= tf.equal(tf.gather(ids, number, batch_dims=1), token_ids)

    def found(values: tf.Tensor) -> tf.Tensor:
        return tf.where(inside, tf.gather(values, number, batch_dims=1), -1)

    return TokenPlaces(tf.where(inside, part, -1), found(starts), found(ends))


def joined_places(*places: TokenPlaces) -> TokenPlaces:
    """The places of several texts, each token in one of them at most."""
    return TokenPlaces(*(tf.reduce_max(tf.stack(values), axis=0) for values in zip(*places, strict=True)))
