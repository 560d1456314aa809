"""Writes `tflm/text/unicode_classes.txt` from what `tokenizers` takes each code point for.

    python -m tests.text.make_unicode_classes > tflm/text/unicode_classes.txt

A published tokenizer cuts texts with the classes of that library, and the regular expressions of a server have those of
its own Unicode version, so the ranges are written out. A test compares the file with what this makes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
CATEGORIES = ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "P", "S")


def ranges(points: list[int]) -> str:
    """
    >>> ranges([65, 66, 67, 97])
    '41-43 61'
    """
    found: list[list[int]] = []
    for point in points:
        if found and point == found[-1][1] + 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in found)


def matched(pattern: str, points: Sequence[int]) -> list[int]:
    """Code points that a regular expression of `tokenizers` matches."""
    text = "".join(map(chr, points))
    left = set(normalizers.Replace(Regex(pattern), "").normalize_str(text))
    return [point for point in points if chr(point) not in left]


def _normalized(
    points: Sequence[int], normalizer: normalizers.Normalizer, separator: str, wanted: Callable[[str], str]
) -> list[int]:
    """Code points that a normalizer makes `wanted` of, each between two separators, which it leaves as they are."""
    points = [point for point in points if chr(point) != separator]
    text = separator.join(map(chr, points))
    parts = normalizer.normalize_str(f"{separator}{text}{separator}").split(separator)[1:-1]
    return [point for point, part in zip(points, parts, strict=True) if part == wanted(chr(point))]


def _bert(**options: bool) -> normalizers.BertNormalizer:
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return normalizers.BertNormalizer(**dict.fromkeys(names, False) | options)


def lines(points: Sequence[int] = CODE_POINTS) -> Iterator[str]:
    """Lines of the file: a name and its ranges in hexadecimal, of these code points."""
    for category in CATEGORIES:
        pattern = rf"\p{{{category}}}"
        yield f"{category}: {ranges(matched(pattern, points))}"
    space = matched(r"\s", points)
    yield f"space: {ranges(space)}"
    yield f"bert_removed: {ranges(_normalized(points, _bert(clean_text=True), '中', lambda each: ''))}"
    yield f"bert_accent: {ranges(_normalized(points, _bert(strip_accents=True), '中', lambda each: ''))}"
    pairs = "".join(f"a{chr(point)}" for point in points)
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(f"{pairs}a")
    alone = {begin // 2 for word, (begin, _) in words if len(word) == 1 and begin % 2}
    yield f"bert_punctuation: {ranges([points[place] for place in sorted(alone)])}"
    inside = np.zeros(len(pairs) + 1, bool)
    for _, (begin, end) in words:
        inside[begin:end] = True
    yield f"bert_gap: {ranges([points[place // 2] for place in np.flatnonzero(~inside)])}"
    han = _bert(handle_chinese_chars=True)
    yield f"bert_han: {ranges(_normalized(points, han, 'a', lambda each: f' {each} '))}"


if __name__ == "__main__":
    print("\n".join(lines()))
