"""Word splitting for metrics and search, in any script. Without TensorFlow, and independent of model tokenizers.

Texts are normalized by `comparable` before comparison. A word is a run of letters and digits with their combining
marks, such as the vowel signs of Hindi and decomposed accents. In scripts without spaces, each character with its marks
is a word; by convention also each Korean syllable.
"""

import re
import unicodedata
from collections.abc import Iterable

from tflm.text.cjk import CHARACTER


def _mark_ranges() -> str:
    """Ranges of combining marks (category M) and of the two joiners, which occur inside words, as a character class."""
    marks = [
        code
        for block in (range(0x300, 0x1F000), range(0xE0100, 0xE01F0))
        for code in block
        if unicodedata.category(chr(code))[0] == "M"
    ]
    ranges: list[list[int]] = []
    for code in sorted([*marks, 0x200C, 0x200D]):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


MARK = _mark_ranges()
"""Character class of combining marks and joiners."""

_WORD = re.compile(rf"(?=\w)[{CHARACTER}][{MARK}]*|[^\W_{CHARACTER}](?:[^\W_{CHARACTER}]|[{MARK}])*")
# Soft hyphen, marks of direction, word joiner, byte-order mark; variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Ligatures, the shapes of Arabic letters, vertical and small forms, full and half width.
_FORMS = re.compile("[\ufb00-\ufdff\ufe10-\ufe1f\ufe30-\ufe6f\ufe70-\ufefc\uff01-\uffee]+")


def comparable(text: str) -> str:
    """Normalizes a text for comparison: NFC, case folded, without invisible characters.

    Compatibility forms are normalized (NFKC) only if they differ in shape: full and half width, ligatures. １９９８
    becomes 1998, but 10² does not become 102.

    >>> comparable("Ｅ\u0301t\u00e9 ﬁn")
    'été fin'
    """
    if text.isascii():
        return text.casefold()
    text = _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def same_text_key(text: str) -> str:
    """A key that is equal for texts that differ only in case, spaces or canonical equivalence.

    >>> same_text_key(" E\u0301t\u00e9\\n") == same_text_key("été")
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def split_words(text: str) -> list[str]:
    """The words of a text, without normalization; see the module docstring.

    >>> split_words("नमस्ते, été x_1 น้ำใจ 文件")
    ['नमस्ते', 'été', 'x', '1', 'น้', 'ำ', 'ใ', 'จ', '文', '件']
    """
    return _WORD.findall(text)


def find_words(text: str) -> list[tuple[int, int]]:
    """Begin and end of each word of `split_words`.

    >>> find_words("很好 film")
    [(0, 1), (1, 2), (3, 7)]
    """
    return [found.span() for found in _WORD.finditer(text)]


def written_in_characters(texts: Iterable[str], characters: str = CHARACTER) -> bool:
    """Whether characters of scripts without spaces outnumber the words of other scripts. Numbers are ignored.

    >>> written_in_characters(["手机 iPhone 很好用", "good"])
    True

    Args:
        texts: the texts.
        characters: character class of the scripts without spaces.
    """
    single = re.compile(rf"(?=\w)[{characters}]")
    word = re.compile(rf"[^\W\d_{characters}](?:[^\W\d_{characters}]|[{MARK}])*")
    num_characters = num_words = 0
    for text in texts:
        num_characters += len(single.findall(text))
        num_words += len(word.findall(text))
    return num_characters > num_words


def one_line(text: str) -> str:
    """The words of a text with single spaces between.

    >>> one_line(" a\\n b")
    'a b'
    """
    return " ".join(text.split())
