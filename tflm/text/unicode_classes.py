"""Classes of characters with their ranges written out, for regular expressions that do not depend on the Unicode
version of the server's RE2."""

import functools
import pathlib

_FILE = pathlib.Path(__file__).with_name("unicode_classes.txt")
_UNIONS = {
    "L": ("Lu", "Ll", "Lt", "Lm", "Lo"),
    "M": ("Mn", "Mc", "Me"),
    "N": ("Nd", "Nl", "No"),
}


def class_names() -> frozenset[str]:
    """The names that `class_body` knows: general categories, "space", and the classes of BERT."""
    return frozenset({*_tables(), *_UNIONS})


@functools.cache
def class_body(*names: str) -> str:
    r"""The inside of a bracketed class of RE2 with the characters of Unicode 16 that `tokenizers` counts as these.

    >>> class_body("Lt")[:20]
    '\\x{1C5}\\x{1C8}\\x{1CB}'

    Args:
        names: of `class_names`.
    Raises:
        KeyError: another name.
    """
    ranges = sorted(each for name in names for own in _UNIONS.get(name, (name,)) for each in _tables()[own])
    merged: list[list[int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return "".join(_written(first, last) for first, last in merged)


@functools.cache
def _tables() -> dict[str, tuple[tuple[int, int], ...]]:
    """First and last code points of the ranges of each class of the file."""
    tables = {}
    for line in _FILE.read_text(encoding="ascii").splitlines():
        name, _, ranges = line.partition(": ")
        ends = [each.split("-") for each in ranges.split()]
        tables[name] = tuple((int(each[0], 16), int(each[-1], 16)) for each in ends)
    return tables


def _written(first: int, last: int) -> str:
    return rf"\x{{{first:X}}}" if first == last else rf"\x{{{first:X}}}-\x{{{last:X}}}"
