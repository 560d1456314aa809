"""Where a space goes between two words of a text that was cut into words."""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_CLOSING = frozenset(",.!?;:%)]}”’»…")
_OPENING = frozenset("([{“‘«¿¡")
# Quotes, dashes and dots that Chinese and English share: no space where they touch Chinese.
_SHARED = frozenset("“”‘’…—·")
_HAN = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
_KANA = ((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))
_WIDE_PUNCTUATION = ((0x3001, 0x303F), (0xFF01, 0xFF65))


@dataclasses.dataclass(frozen=True)
class WordSpacing:
    """What the first and the last character of each piece say about spaces; bool [V] each.

    Only characters that are always words of their own ever let a space go (punctuation, Han), so cutting the
    joined text gives the same words again.

        ["你", "好", "，", "TensorFlow", "!", "(", "ok", ")"]  ->  你好，TensorFlow! (ok)
    """

    closes: tf.Tensor
    """No space before it: a suffix of a word, closing or full-width punctuation."""
    opens: tf.Tensor
    """No space after it: opening or full-width punctuation."""
    lone_first: tf.Tensor
    """It begins with a Han character or with punctuation that Chinese and English share."""
    lone_last: tf.Tensor
    wide_first: tf.Tensor
    """As above, or it begins with kana."""
    wide_last: tf.Tensor

    @classmethod
    def of_pieces(cls, pieces: Sequence[str], is_suffix: Sequence[bool]) -> "WordSpacing":
        """The tables of a vocabulary.

        Args:
            pieces: [V] the characters of each id, without "##".
            is_suffix: [V] whether it continues a word.
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
        """Whether a space stands before each token; never before the first of a row.

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


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= ord(character) <= high for low, high in ranges) if character else False


def _is_wide_punctuation(character: str) -> bool:
    return _within(character, _WIDE_PUNCTUATION) and unicodedata.category(character).startswith("P")


def _is_closing(character: str) -> bool:
    return character in _CLOSING or _is_wide_punctuation(character)


def _is_lone(character: str) -> bool:
    return character in _SHARED or _within(character, _HAN)


def _is_wide(character: str) -> bool:
    return _is_lone(character) or _within(character, _KANA)
