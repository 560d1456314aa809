"""What text the predicted tokens of a store stand for: how long it is, and whether it is that of another store."""

import hashlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tflm.data import TokenStore
from tflm.text import Tokenizer

_ROWS = 1000  # detokenized at once


class HeldOutText(NamedTuple):
    """The texts of all rows."""

    num_bytes: int
    """In UTF-8."""
    num_characters: int
    digest: str
    """Equal for equal texts in the same order, whatever the tokenizer."""


def held_out_text(store: TokenStore, tokenizer: Tokenizer) -> HeldOutText:
    """All rows of `token_ids` as text; of a pair without its source, and of a conversation
    without what others than the assistant say: they are not predicted.

    For a byte tokenizer and the rows `[start, a, separator, 你, end]`, `[start, b, separator, c, end]` with
    prefix_length 3: the texts 你 and c, 4 bytes and 2 characters. A tokenizer that loses something, such as case,
    is measured by what it keeps.

    Args:
        store: of language modelling, of pairs or of chat.
        tokenizer: the one that filled it.
    """
    values, offsets = store.values("token_ids"), store.offsets("token_ids")
    if "prefix_length" in store.features:
        lengths = store.lengths("token_ids")
        places = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
        values = np.where(
            places < np.repeat(store.values("prefix_length"), lengths), tokenizer.pad_id, values
        )
    num_bytes, num_characters, digest = 0, 0, hashlib.sha256()
    if "learnt" in store.features:
        values = np.where(store.values("learnt") > 0, values, tokenizer.pad_id)
    for begin in range(0, store.num_rows, _ROWS):
        splits = offsets[begin : begin + _ROWS + 1]
        flat = tf.constant(values[splits[0] : splits[-1]], tf.int32)
        for text in tokenizer.detokenize(tf.RaggedTensor.from_row_splits(flat, splits - splits[0])).numpy():
            num_bytes += len(text)
            num_characters += len(text.decode("utf-8"))
            digest.update(text + b"\0")
    return HeldOutText(num_bytes, num_characters, digest.hexdigest())
