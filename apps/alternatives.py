"""What a model might have written in place of each token: `apps.generate --show_alternatives=5`."""

import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from apps.text_generation import Generator, Record

_RED_TO_GREEN = (196, 202, 208, 214, 220, 226, 190, 154, 118, 82, 46)
"""Colours of a terminal that has 256, for probabilities of 0, 0.1, ... 1."""
_WRITTEN = {" ": "·", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_COLUMNS = ("tokens", "probabilities", "alternatives", "alternative_probabilities")


def find_alternatives(generator: Generator, texts: Sequence[str], count: int) -> Iterator[Record]:
    """The text that the model writes for each prompt, token by token.

        "1 + 1 =" to {"prompt": "1 + 1 =", "tokens": [" 2", ""], "probabilities": [0.9, 0.8],
        "alternatives": [[" 2", " 3"], ["", "."]], "alternative_probabilities": [[0.9, 0.06], [0.8, 0.1]]}

    Probabilities are the model's own: no setting enters them, so that the token that was written need not be among the
    likeliest. "" is the end. A token of a part of a character is U+FFFD.

    Args:
        generator: a model with the signature `alternatives`.
        texts: the prompts.
        count: alternatives for each token.
    """
    settings = generator.inputs(len(texts))
    token_ids = generator.model.predict("generate", {"text": list(texts), **settings})["token_ids"]
    token_ids = np.pad(token_ids, [(0, 0), (0, int(token_ids.shape[1] == 0))], constant_values=-1)
    request = {
        "text": list(texts),
        "token_ids": token_ids,
        "max_new_tokens": settings["max_new_tokens"],
        "num_alternatives": [count] * len(texts),
    }
    outputs = generator.model.predict("alternatives", request)
    for row, text in enumerate(texts):
        length = int(outputs["num_tokens"][row])
        kept = {name: value[row][:length].tolist() for name, value in outputs.items() if value.ndim > 1}
        yield {
            "prompt": text,
            "tokens": _texts(kept["tokens"]),
            "probabilities": _probabilities(kept["log_probabilities"]),
            "alternatives": [_texts(each) for each in kept["alternatives"]],
            "alternative_probabilities": [
                _probabilities(each) for each in kept["alternative_log_probabilities"]
            ],
        }


def table(record: Record, colored: bool) -> str:
    """A record of `find_alternatives` as lines: the prompt, then a token a line with its probability and the likeliest,
    in columns that line up in a terminal, Chinese too.

        1·+·1·=
        token  prob.  1             2
        ·2     90.0%  ·2     90.0%  ·3   6.0%
        <end>  80.0%  <end>  80.0%  .   10.0%

    Args:
        colored: each probability in a colour from red to green.
    """
    count = max(map(len, record["alternatives"]), default=0)
    lines = [["token", "prob.", *(cell for place in range(count) for cell in (str(place + 1), ""))]]
    values: list[list[float]] = [[]]
    for token, own, others, theirs in zip(*(record[name] for name in _COLUMNS), strict=True):
        values.append([own, *theirs])
        pairs = zip([token, *others], values[-1], strict=True)
        lines.append([cell for each, value in pairs for cell in (visible(each), f"{value:.1%}")])
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    shown = [
        _line(line, widths, numbers if colored else []) for line, numbers in zip(lines, values, strict=True)
    ]
    return "\n".join(["".join(map(_mark, record["prompt"])), *shown, ""])


def is_colored() -> bool:
    """Whether standard output is a terminal that shows colours, and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def visible(token: str) -> str:
    """A token so that all of it can be seen.

    >>> visible(" a\\n"), visible(""), visible("\\x1b")
    ('·a\\\\n', '<end>', '\\\\x1b')
    """
    return "".join(map(_mark, token)) or "<end>"


def width(text: str) -> int:
    """Columns of a terminal that a text takes (Unicode Standard Annex 11).

    >>> width("a你")
    3
    """
    return sum(_character_width(character) for character in text)


def _mark(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    # What is no graphic character: controls, marks of direction, lone surrogates, line ends of Unicode, unassigned.
    if unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _line(cells: Sequence[str], widths: Sequence[int], values: Sequence[float]) -> str:
    """Tokens to the left and numbers to the right of their columns, numbers in the colours of their values."""
    parts = []
    for place, (cell, size) in enumerate(zip(cells, widths, strict=True)):
        room = " " * (size - width(cell))
        padded = room + cell if place % 2 else cell + room
        if place % 2 and values:
            color = _RED_TO_GREEN[round(values[place // 2] * (len(_RED_TO_GREEN) - 1))]
            padded = f"\x1b[38;5;{color}m{padded}\x1b[0m"
        parts.append(padded)
    return "  ".join(parts).rstrip()


def _texts(tokens: list[bytes]) -> list[str]:
    return [token.decode("utf-8", "replace") for token in tokens]


def _probabilities(logarithms: list[Any]) -> list[float]:
    return [min(math.exp(each), 1.0) for each in logarithms]
