"""Kinds of personal data, each a function that is registered by name.

    @personal_data("student_number", tag="<id>")
    def student_numbers(text):
        \"\"\"Student numbers: S and eight digits.\"\"\"
        return [found.span() for found in re.finditer("(?<![A-Za-z0-9])S[0-9]{8}(?![A-Za-z0-9])", text)]

The text that a function is given has ASCII forms of full-width characters, dashes and spaces in the place of those that
the user wrote; every character keeps its position.
"""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tflm.errors import UserError
from tflm.registry import Registry

FindFn = Callable[[str], Iterable[tuple[int, int]]]
"""From a text to (start, end) of each piece of personal data, in characters, in any order."""
PATTERNS: Registry[FindFn] = Registry("personal data pattern", "personal_data", "tflm.data.personal")
ALL = "all"
"""Stands for every kind."""
DIGITS = "[0-9\uff10-\uff19]{2}"
"""What `needs` of a kind of numbers is: two digits, full-width ones too."""
AT = "[@\uff20]"
"""What `needs` of a kind with an at sign is."""
_TAG = re.compile(r"<[a-z]+>")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_DASHES = "\u2010\u2011\u2012\u2013\u2212\ufe63"
_SPACES = "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"
_PLAIN: dict[int, str | int] = {
    **_WIDE,
    **dict.fromkeys(map(ord, _DASHES), "-"),
    **dict.fromkeys(map(ord, _SPACES), " "),
}
_NOT_PLAIN = re.compile(f"[\uff01-\uff5e{_DASHES}{_SPACES}]")


@dataclasses.dataclass(frozen=True)
class PersonalData:
    """A kind of personal data."""

    kind: str
    function: FindFn
    tag: str
    """Takes its place in a masked text, such as "<email>"."""
    needs: str = ""
    """A regular expression that is found in every text that has such data: the function is called for no other."""

    @property
    def summary(self) -> str:
        """The first paragraph of the function's docstring, in one line."""
        return " ".join((self.function.__doc__ or "").strip().partition("\n\n")[0].split())


def personal_data(kind: str, tag: str, needs: str = "") -> Callable[[FindFn], FindFn]:
    """A decorator that registers a function as a kind of personal data; see `PersonalData`.

    Raises:
        ValueError: the tag is not a word of lower-case ASCII letters in angle brackets, or another kind has the name.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(
            f"the tag of {kind!r} is {tag!r}; it must be like '<email>': lower-case letters in <>."
        )

    def add(function: Any) -> FindFn:
        function.about = {"tag": tag, "needs": needs}
        return PATTERNS.add(kind, function)

    return add


def check_kinds(kinds: Sequence[str], setting: str) -> None:
    """Checks names of kinds, without importing any.

    Args:
        kinds: names, or `ALL`.
        setting: what names them, for the message.
    Raises:
        UserError: there is no such kind.
    """
    for kind in kinds:
        if kind != ALL and kind not in PATTERNS:
            raise UserError(
                f"{setting} names {kind!r}; it must be {ALL}, or some of {', '.join(PATTERNS.names())}. A kind of a "
                "plugin needs TFLM_PLUGINS=MODULE_OR_FILE."
            )


def find_kinds(kinds: Sequence[str]) -> list[PersonalData]:
    """The kinds of these names, in the order of the names' declaration; all for `ALL`.

    Raises:
        UserError: there is no such kind.
    """
    names = PATTERNS.names() if ALL in kinds else sorted(set(kinds))
    functions: list[Any] = [PATTERNS.get(name) for name in names]
    return [PersonalData(name, function, **function.about) for name, function in zip(names, functions)]


def plugin_files(kinds: Sequence[str]) -> list[str]:
    """The source files of the kinds that are not part of tflm: what is masked depends on them."""
    root = str(Path(__file__).parents[2]) + os.sep
    files = {inspect.getfile(inspect.unwrap(each.function)) for each in find_kinds(kinds)}
    return sorted(file for file in files if not os.path.abspath(file).startswith(root))


def plain_forms(text: str) -> str:
    """ASCII forms of full-width characters, of dashes and of spaces; of the same length.

    >>> plain_forms("１３８\u20131234")
    '138-1234'
    """
    return text.translate(_PLAIN) if _NOT_PLAIN.search(text) else text
