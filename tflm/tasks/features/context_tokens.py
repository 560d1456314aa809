"""The tokens of contexts, and the characters of each."""

from typing import Any, NamedTuple

import tensorflow as tf

from tflm.text import Tokenizer
from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.token_offsets import token_offsets


class ContextTokens(NamedTuple):
    """The tokens of B contexts, and their characters in the text."""

    token_ids: tf.RaggedTensor
    """int32 [B, (C)]."""
    starts: tf.RaggedTensor
    """int32 [B, (C)], code points, as `token_offsets` gives them."""
    ends: tf.RaggedTensor
    """int32 [B, (C)], likewise."""
    allowed: tf.RaggedTensor
    """bool [B, (C)]: an answer may start and may end here: no space, and the first token of its character."""


def context_tokens(tokenizer: Tokenizer, context: tf.Tensor) -> ContextTokens:
    """The tokens of contexts string [B]. In graph.

    "a 😀" in bytes: starts [0, 1, 2, -1, -1, -1], ends [1, 2, 3, 3, 3, 3], allowed [T, F, T, F, F, F]
    """
    token_ids, starts, ends = token_offsets(tokenizer, context)
    characters = tf.strings.unicode_split(replace_invalid_utf8(context), "UTF-8")
    blank = tf.strings.regex_full_match(tf.concat([characters.flat_values, [" "]], axis=0), r"[\s\p{Z}]")
    begins = tf.gather(tf.cast(characters.row_starts(), tf.int32), starts.value_rowids())
    leads = starts.flat_values >= 0
    place = tf.where(leads, begins + starts.flat_values, 0)
    return ContextTokens(token_ids, starts, ends, starts.with_flat_values(leads & ~tf.gather(blank, place)))


def of_tokens(values: tf.RaggedTensor, row: tf.Tensor, number: tf.Tensor, spare: Any) -> tf.Tensor:
    """What tokens have: [N, M] of `number` int32 [N, M] and their contexts `row` int32 [N, 1]; anything where there is
    no such token.

    >>> of_tokens([[7, 8], [9]], row=[[1], [0]], number=[[0], [1]], spare=0)
    [[9], [8]]

    Args:
        values: [B, (C)] of any dtype.
        spare: of that dtype, in case there is no token at all.
    """
    flat = tf.concat([values.flat_values, [spare]], axis=0)
    index = tf.gather(tf.cast(values.row_starts(), tf.int32), row) + number
    return tf.gather(flat, tf.minimum(index, tf.size(flat) - 1))
