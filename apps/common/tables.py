"""Tables and running text on standard output: styled and fitted to a terminal, plain in a pipe or a file.

    show_table(["", "F1", "texts"], [["地点", "91.20", "120"], ["person", "88.15", "98"]])

            F1  texts
    地点    91.20    120
    person  88.15     98

Columns line up with Chinese among them: a Chinese character takes two columns of a terminal.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.table import Table

_NO_LIMIT = 100_000
"""The width of a table that is no wider than its content."""


def is_colored(stream: TextIO | None = None) -> bool:
    """Whether a stream, by default standard output, is a terminal with colours and nobody asked for none
    (https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def text_width(limit: int) -> int:
    """The columns of running text: those of the terminal up to `limit`; in a pipe `limit`."""
    return min(limit, shutil.get_terminal_size().columns) if sys.stdout.isatty() else limit


def fill(text: str, width: int, indent: str = "") -> str:
    """Wraps the paragraphs of a text again; those with indented lines, such as commands, stay as they are.

    Args:
        text: paragraphs separated by blank lines.
        width: maximum columns of a line.
        indent: of every line of a paragraph but the first.
    """
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if not re.search("^ ", paragraph, re.MULTILINE):
            joined = " ".join(paragraph.split())
            paragraph = textwrap.fill(
                joined, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
            )
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def bold(text: str, color: str = "", stream: TextIO | None = None) -> str:
    """The text in bold, and in a colour, if the stream is a terminal with colours; else the text itself."""
    if not is_colored(stream):
        return text
    from rich.text import Text

    return render(Text(text, style=f"bold {color}".strip()), styled=True)


def fitted(text: str) -> str:
    """A help text in the width of the terminal, 120 columns at most; in a pipe as it is."""
    return fill(text, text_width(120)) if sys.stdout.isatty() else text


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: the first column to the left, the others to the right.

    If the terminal is too narrow, each row becomes a column, and the table is divided into parts that fit.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _NO_LIMIT
    parts = [(header, rows)] if _width(header, rows) <= width else _transposed(header, rows, width)
    alignments = ["left"] + ["right"] * len(rows[0] if rows else header)
    styled = is_colored()
    shown = [
        render(grid(titles, lines, alignments, "bold" if styled else ""), styled, width)
        for titles, lines in parts
    ]
    print("\n\n".join(shown))


def grid(
    header: Sequence[str], rows: Sequence[Sequence[Any]], alignments: Sequence[str], header_style: str = ""
) -> "Table":
    """A table without lines, its columns two spaces apart.

    Args:
        header: the titles.
        rows: a str or a `rich.text.Text` for each column.
        alignments: "left" or "right" for each column.
        header_style: of rich, such as "bold".
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=header_style)
    for title, alignment in zip(header, alignments):
        table.add_column(Text(title), justify=alignment, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def render(renderable: Any, styled: bool, width: int = _NO_LIMIT) -> str:
    """What rich draws, as lines without spaces at their ends; without escape codes unless `styled`."""
    from rich.console import Console

    console = Console(
        file=sys.stdout,
        width=width,
        force_terminal=styled,
        color_system="256" if styled else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))


def _width(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(_column_widths([header, *rows])) + 2 * (len(header) - 1)


def _column_widths(lines: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _transposed(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[tuple[Sequence[str], list[list[str]]]]:
    """Parts with a column for each row, as many as fit; at least one."""
    label_width, *widths = _column_widths(list(zip(header, *rows, strict=True)))
    parts: list[list[Sequence[str]]] = []
    room = 0
    for row, size in zip(rows, widths):
        room -= size + 2
        if room < 0 or not parts:
            parts.append([])
            room = width - label_width - size - 2
        parts[-1].append(row)
    return [
        (
            [header[0], *(row[0] for row in part)],
            [[title, *cells] for title, *cells in zip(header[1:], *(row[1:] for row in part))],
        )
        for part in parts
    ]
