"""A griffe extension for the API reference: examples of docstrings become code blocks, and their sections are parted.

griffe finds `Returns:` only after a blank line; the docstrings here have none between sections.
"""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*\n?(?:^\1\S.*\n?)*", re.MULTILINE)
_SECTION = re.compile(r"\n+(?=(?:Args|Attributes|Raises|Returns|Yields):\n)")


class DocstringExamples(griffe.Extension):
    """Changes every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for everything that has been read."""
        if obj.docstring:
            obj.docstring.value = _SECTION.sub("\n\n", fence_examples(obj.docstring.value))


def fence_examples(text: str) -> str:
    """Puts a fence around each `>>>` and the output below it."""

    def fenced(found: re.Match[str]) -> str:
        indent = found[1]
        return f"{indent}```python\n{found[0].rstrip()}\n{indent}```\n"

    return _EXAMPLE.sub(fenced, text)
