"""Rule-based sentence segmentation by punctuation, for any script.

A full stop, question mark or exclamation mark ends a sentence before a space or at the end of the text, except after an
abbreviation such as "e.g." before a lower-case letter. Punctuation of Chinese and other scripts needs no space. Closing
quotes and brackets belong to the sentence before them. A blank line also ends a sentence.
"""

import re

from tflm.text.cjk import SENTENCE_END

# The lookbehind tries only the first mark of a run; otherwise a run of a hundred thousand dots would take minutes.
_MARKS = r"[.!?]+[\"'”’)\]]*"
_LATIN = rf"(?<![.!?])(?:(?<!\.[A-Za-z]){_MARKS}|{_MARKS}(?!\s+[a-z]))"
_CLOSING = '”’」』）】》"'
_WIDE = rf"[{SENTENCE_END}]+[{_CLOSING}]*"
_WIDE_CLAUSE = rf"[{SENTENCE_END}；…]+[{_CLOSING}]*"

END = re.compile(rf"{_WIDE_CLAUSE}|{_LATIN}(?=\s)|\n")
"""The end of a sentence, of a Chinese clause before a semicolon or an ellipsis, or of a line; for `finditer`."""

_SENTENCE = re.compile(rf".+?(?:{_LATIN}\s+|{_WIDE}\s*|\n\s*\n\s*|$)", re.DOTALL)
_CLAUSE = re.compile(rf".+?(?:{_LATIN}\s+|{_WIDE_CLAUSE}\s*|\n\s*\n\s*|$)", re.DOTALL)


def split_sentences(text: str, clauses: bool = False) -> list[str]:
    """Sentences with their trailing white space; their concatenation is the text.

    >>> split_sentences('One. "Two!" 三。四？Version 1.5')
    ['One. ', '"Two!" ', '三。', '四？', 'Version 1.5']

    Args:
        text: str; "" has no sentences.
        clauses: bool, also split at "；" and "…".
    """
    return (_CLAUSE if clauses else _SENTENCE).findall(text)


def first_sentence(text: str) -> str:
    """The first sentence of a text on one line.

    >>> first_sentence("Reads a file.\\nRaises an error if it cannot.")
    'Reads a file.'
    """
    start, end = first_sentence_span(text)
    return " ".join(text[start:end].split())


def first_sentence_span(text: str) -> tuple[int, int]:
    """Start and end of the first sentence in characters, without white space around it; (0, 0) for blank text.

    >>> first_sentence_span(" One. Two.")
    (1, 5)
    """
    start = len(text) - len(text.lstrip())
    found = _SENTENCE.match(text, start)
    return (start, start + len(found[0].rstrip())) if found else (0, 0)
