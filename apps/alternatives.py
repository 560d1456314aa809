"""What a model might have written in place of each token: `tflm generate --show_alternatives=5`."""

import unicodedata
from typing import TYPE_CHECKING, Any

from .common.tables import grid, render

if TYPE_CHECKING:
    from rich.text import Text

    from tflm.serving.handle.results import Alternatives

Record = dict[str, Any]

_RED_TO_GREEN = (196, 202, 208, 214, 220, 226, 190, 154, 118, 82, 46)
"""Colours of a terminal that has 256, for probabilities of 0, 0.1, ... 1."""
_WRITTEN = {" ": "·", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_COLUMNS = ("tokens", "probabilities", "alternatives", "alternative_probabilities")


def record_of(prompt: str, found: "Alternatives") -> Record:
    """A text token by token as JSON.

    "1 + 1 =" to {"prompt": "1 + 1 =", "tokens": [" 2", ""], "probabilities": [0.9, 0.8],
    "alternatives": [[" 2", " 3"], ["", "."]], "alternative_probabilities": [[0.9, 0.06], [0.8, 0.1]]}
    """
    record: Record = {
        "prompt": prompt,
        "tokens": [each.token for each in found.tokens],
        "probabilities": [each.probability for each in found.tokens],
        "alternatives": [[text for text, _ in each.alternatives] for each in found.tokens],
        "alternative_probabilities": [[value for _, value in each.alternatives] for each in found.tokens],
    }
    return record if found.truncated is None else {**record, "truncated": found.truncated}


def table(record: Record, colored: bool) -> str:
    """A record of `record_of` as lines: the prompt, then a token a line with its probability and the likeliest,
    in columns that line up in a terminal, Chinese too.

        1·+·1·=
        token  prob.  1             2
        ·2     90.0%  ·2     90.0%  ·3   6.0%
        <end>  80.0%  <end>  80.0%  .   10.0%

    Args:
        colored: each probability in a colour from red to green.
    """
    count = max(map(len, record["alternatives"]), default=0)
    header = ["token", "prob.", *(cell for place in range(count) for cell in (str(place + 1), ""))]
    lines: list[list[Any]] = []
    for token, own, others, theirs in zip(*(record[name] for name in _COLUMNS), strict=True):
        pairs = zip([token, *others], [own, *theirs], strict=True)
        lines.append([cell for each, value in pairs for cell in (visible(each), _colored(value))])
    shown = render(grid(header, lines, ["left", "right"] * (1 + count)), colored)
    return "\n".join(["".join(map(_mark, record["prompt"])), shown, ""])


def visible(token: str) -> str:
    """A token so that all of it can be seen.

    >>> visible(" a\\n"), visible(""), visible("\\x1b")
    ('·a\\\\n', '<end>', '\\\\x1b')
    """
    return "".join(map(_mark, token)) or "<end>"


def _mark(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    # What is no graphic character: controls, marks of direction, lone surrogates, line ends of Unicode, unassigned.
    if unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"):
        return character.encode("unicode_escape").decode("ascii")
    return character


def _colored(value: float) -> "Text":
    """A probability in its colour."""
    from rich.text import Text

    color = _RED_TO_GREEN[round(value * (len(_RED_TO_GREEN) - 1))]
    return Text(f"{value:.1%}", style=f"color({color})")
