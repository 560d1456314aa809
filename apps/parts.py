"""A text cut at the ends of its sentences into parts that a model can read whole."""

import re
from collections.abc import Callable, Sequence

# What ends a sentence stays with it: its quotes and brackets, and the space after it. Chinese marks need no space.
# Marks are looked at from the first of a row on alone, or a row of a hundred thousand dots would take minutes.
_SENTENCE = re.compile(
    r".+?(?:(?<![.!?])[.!?]+[\"'”’)\]]*\s+|[。！？；…]+[”’」』）】》\"]*\s*|\n\s*\n\s*|$)", re.DOTALL
)

CountFn = Callable[[Sequence[str]], Sequence[int]]
"""Texts to how many tokens each is."""


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined, they are the text.

    >>> sentences('One. "Two!" 三。四？Version 1.5')
    ['One. ', '"Two!" ', '三。', '四？', 'Version 1.5']
    """
    return _SENTENCE.findall(text)


def cut_into_parts(text: str, count_fn: CountFn, limit: int) -> list[str]:
    """Parts of at most `limit` tokens, each with as many sentences as it holds; joined, they are the text.

    A sentence that is longer is cut where the limit is. A single character of more tokens stays whole.

    >>> cut_into_parts("One two. Three. 四五六七。", lambda texts: [len(text.encode()) for text in texts], limit=16)
    ['One two. Three. ', '四五六七。']

    Args:
        count_fn: called with all texts of a step together, since it may be a request to a model.
        limit: in tokens, 1 at least.
    """
    if count_fn([text])[0] <= limit:
        return [text]
    return _fitting([text], count_fn, limit)


def _fitting(parts: list[str], count_fn: CountFn, limit: int) -> list[str]:
    """The parts, those cut again that are too long.

    Tokens of a part are not quite those of its sentences added up; so what is too long after all is cut in two.
    """
    fitting: list[str] = []
    for part, count in zip(parts, count_fn(parts), strict=True):
        if count <= limit or len(part) == 1:
            fitting.append(part)
            continue
        units = sentences(part)
        if len(units) == 1:
            pieces = _slices(part, -(-count // limit))
        else:
            pieces = _packed(units, count_fn(units), limit)
            pieces = pieces if len(pieces) > 1 else ["".join(units[:-1]), units[-1]]
        fitting.extend(_fitting(pieces, count_fn, limit))
    return fitting


def _packed(units: Sequence[str], counts: Sequence[int], limit: int) -> list[str]:
    """Neighbours together as long as their counts add up to no more than the limit."""
    packed: list[str] = []
    room = 0
    for unit, count in zip(units, counts, strict=True):
        if packed and count <= room:
            packed[-1] += unit
            room -= count
        else:
            packed.append(unit)
            room = limit - count
    return packed


def _slices(text: str, number: int) -> list[str]:
    """About so many slices of equal length in characters."""
    size = max(1, len(text) // number)
    return [text[begin : begin + size] for begin in range(0, len(text), size)]
