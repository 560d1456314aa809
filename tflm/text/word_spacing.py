"""Spacing rules to join words to a text."""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tflm.text.cjk import BERT_HAN, KANA_BLOCKS, in_ranges

_CLOSING = frozenset(",.!?;:%)]}”’»…")
_OPENING = frozenset("([{“‘«¿¡")
# Quotes, dashes and dots shared by Chinese and English: no space next to Chinese characters.
_SHARED = frozenset("“”‘’…—·")
_WIDE_PUNCTUATION = ((0x3001, 0x303F), (0xFF01, 0xFF65))


@dataclasses.dataclass(frozen=True)
class WordSpacing:
    """Spacing properties of the first and last character of each piece; bool [V] each.

    Spaces are omitted only next to characters that are always separate words (punctuation, Han), so splitting the
    joined text gives the same words.

        ["你", "好", "，", "TensorFlow", "!", "(", "ok", ")"]  ->  你好，TensorFlow! (ok)
    """

    closes: tf.Tensor
    """No space before it: a suffix of a word, closing or full-width punctuation."""
    opens: tf.Tensor
    """No space after it: opening or full-width punctuation."""
    lone_first: tf.Tensor
    """Begins with a Han character or with shared punctuation."""
    lone_last: tf.Tensor
    """Ends with one."""
    wide_first: tf.Tensor
    """Begins with a Han character, shared punctuation or kana."""
    wide_last: tf.Tensor
    """Ends with one."""

    @classmethod
    def of_pieces(cls, pieces: Sequence[str], is_suffix: Sequence[bool]) -> "WordSpacing":
        """Computes the tables of a vocabulary.

        Args:
            pieces: [V], text of each id, without "##".
            is_suffix: [V], whether the piece continues a word.
        """
        first = [piece[:1] for piece in pieces]
        last = [piece[-1:] for piece in pieces]

        def table(values: list[bool]) -> tf.Tensor:
            return tf.constant(np.array(values, bool))

        return cls(
            closes=table([suffix or _is_closing(c) for c, suffix in zip(first, is_suffix)]),
            opens=table([c in _OPENING or _is_wide_punctuation(c) for c in last]),
            lone_first=table([_is_lone(c) for c in first]),
            lone_last=table([_is_lone(c) for c in last]),
            wide_first=table([_is_wide(c) for c in first]),
            wide_last=table([_is_wide(c) for c in last]),
        )

    def needs_space(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Whether a space precedes each token; False for the first token of a row.

        Args:
            token_ids: RaggedTensor int32 [B, (T)].
        Returns:
            bool [N], for the flat values.
        """
        after = token_ids.flat_values
        before = tf.concat([after[:1], after[:-1]], axis=0)
        touch = (
            tf.gather(self.closes, after)
            | tf.gather(self.opens, before)
            | (tf.gather(self.lone_last, before) & tf.gather(self.wide_first, after))
            | (tf.gather(self.wide_last, before) & tf.gather(self.lone_first, after))
        )
        row = token_ids.value_rowids()
        row_before = tf.concat([tf.fill([1], tf.constant(-1, row.dtype)), row[:-1]], axis=0)[: tf.size(row)]
        return ~touch & (row == row_before)


def _is_wide_punctuation(character: str) -> bool:
    return in_ranges(character, _WIDE_PUNCTUATION) and unicodedata.category(character).startswith("P")


def _is_closing(character: str) -> bool:
    return character in _CLOSING or _is_wide_punctuation(character)


def _is_lone(character: str) -> bool:
    return character in _SHARED or in_ranges(character, BERT_HAN)


def _is_wide(character: str) -> bool:
    return _is_lone(character) or in_ranges(character, KANA_BLOCKS)
