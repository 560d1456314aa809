"""The text of the target tokens of a store: its length, and a digest to compare held-out splits."""

import hashlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tflm.data import TokenStore
from tflm.text import Tokenizer

_ROWS = 1000  # rows detokenized per call


class HeldOutText(NamedTuple):
    """Length and digest of the target texts of all rows."""

    num_bytes: int
    """UTF-8 bytes."""
    num_characters: int
    """Unicode code points."""
    digest: str
    """SHA-256 of the texts in order, independent of the tokenizer."""


def held_out_text(store: TokenStore, tokenizer: Tokenizer) -> HeldOutText:
    """Detokenizes the target tokens of all rows: without the source of a pair, and without the system and user messages
    of a conversation.

    For a byte tokenizer and the rows `[start, a, separator, 你, end]`, `[start, b, separator, c, end]` with
    prefix_length 3: the texts 你 and c, 4 bytes and 2 characters. With a lossy tokenizer, the text is the detokenized
    one, such as lower case.

    Args:
        store: a store of language modeling, pairs or chat.
        tokenizer: the tokenizer of the store.
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
