"""Which writing a text is in, as far as measures care: words between spaces, or characters."""

import re
from collections.abc import Iterable

# Han ideographs, kana and hangul: written without spaces, or scored by character by custom.
CHARACTER = (
    "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
)


def written_in_characters(texts: Iterable[str]) -> bool:
    """Whether Chinese, Japanese and Korean characters outnumber the words of other scripts.

    Words and not letters, since a character says about as much as a word does.

    >>> written_in_characters(["手机 iPhone 很好用", "good"])
    True
    """
    characters = words = 0
    for text in texts:
        characters += len(re.findall(f"[{CHARACTER}]", text))
        words += len(re.findall(rf"[^\W\d_{CHARACTER}]+", text))
    return characters > words
