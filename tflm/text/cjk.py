"""Character ranges of scripts: Han, kana, Hangul and other scripts without spaces between words.

The constants are character classes for Python's `re`: `re.compile(f"[{HAN}]")`. `BERT_HAN` is the set of Chinese
characters that the vocabularies of BERT depend on.
"""

from collections.abc import Iterable

HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"
HANGUL = "\uac00-\ud7af"
# Thai, Lao, Burmese, Khmer; Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Tai Viet.
SOUTHEAST_ASIAN = (
    "\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff"
    "\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df\uaa80-\uaadf"
)
CHARACTER = HAN + KANA + HANGUL + SOUTHEAST_ASIAN
"""Character class of the characters that count as one word each."""

SENTENCE_END = "。｡！？؟۔।॥။។៕።།༎։"
"""Character class of sentence-ending punctuation that needs no following space."""

BERT_HAN = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""First and last code point of each block that the tokenizer of BERT treats as Chinese (Devlin et al., 2019;
`tokenization.py`, `_is_chinese_char`)."""

KANA_BLOCKS = ((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))
"""First and last code point of the kana blocks, including their punctuation, such as the middle dot."""


def in_ranges(character: str, ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether a character is in one of the ranges (inclusive); False for ""."""
    return bool(character) and any(first <= ord(character) <= last for first, last in ranges)


def re2_class(ranges: Iterable[tuple[int, int]]) -> str:
    r"""Ranges in RE2 syntax for a character class, for `tf.strings.regex_replace`.

    >>> re2_class([(0x4E00, 0x9FFF)])
    '\\x{4E00}-\\x{9FFF}'
    """
    return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges)
