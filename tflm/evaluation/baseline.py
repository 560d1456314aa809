"""The obvious baseline of summarization: the first sentence."""

import re

# A full stop, question or exclamation mark before a space or the end; Chinese marks need no space after them.
_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n\s*\n")


def first_sentence(text: str) -> str:
    """The first sentence of a text, its lines joined. An abbreviation before a space ("e.g. this") ends it too.

    >>> first_sentence("Reads a file.\\nRaises an error if it cannot.")
    'Reads a file.'
    """
    return " ".join(_END.split(text.strip(), maxsplit=1)[0].split())
