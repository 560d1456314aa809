"""Splitting of long texts at sentence boundaries into parts that fit the model."""

from collections.abc import Callable, Sequence

from tflm.text.sentences import split_sentences

CountFn = Callable[[Sequence[str]], Sequence[int]]
"""Maps texts to their numbers of tokens."""


def cut_into_parts(text: str, count_fn: CountFn, limit: int) -> list[str]:
    """Splits a text into parts of at most `limit` tokens, each with the maximum number of sentences; their
    concatenation is the text.

    A longer sentence is split inside. A single character is never split, even if it has more tokens.

    >>> cut_into_parts("One two. Three. 四五六七。", lambda texts: [len(text.encode()) for text in texts], limit=16)
    ['One two. Three. ', '四五六七。']

    Args:
        text: the text.
        count_fn: called with a batch of texts per step, since it may be a request to a model.
        limit: int, maximum number of tokens, at least 1.
    """
    if count_fn([text])[0] <= limit:
        return [text]
    return _fitting([text], count_fn, limit)


def _fitting(parts: list[str], count_fn: CountFn, limit: int) -> list[str]:
    """Splits the parts that are too long.

    The number of tokens of a part may differ from the sum over its sentences; a part that is still too long is split
    in two.
    """
    fitting: list[str] = []
    for part, count in zip(parts, count_fn(parts), strict=True):
        if count <= limit or len(part) == 1:
            fitting.append(part)
            continue
        units = split_sentences(part, clauses=True)
        if len(units) == 1:
            pieces = _slices(part, -(-count // limit))
        else:
            pieces = _packed(units, count_fn(units), limit)
            pieces = pieces if len(pieces) > 1 else ["".join(units[:-1]), units[-1]]
        fitting.extend(_fitting(pieces, count_fn, limit))
    return fitting


def _packed(units: Sequence[str], counts: Sequence[int], limit: int) -> list[str]:
    """Joins consecutive units while the sum of their counts is within the limit."""
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
    """About `number` slices of equal length in characters."""
    size = max(1, len(text) // number)
    return [text[begin : begin + size] for begin in range(0, len(text), size)]
