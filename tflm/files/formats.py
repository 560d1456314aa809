"""Data file formats: file extensions, gzip, and the rows of csv and tsv.

Shared by training sources, automatic recipes and `--input` of the apps, so that all read a file the same way.
"""

import csv
import gzip
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

ENDINGS = {
    "text": (".txt",),
    "jsonl": (".jsonl", ".ndjson"),
    "squad": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "conll": (".conll", ".bio", ".bioes", ".txt", ".tsv"),
    "segmented": (".txt", ".utf8"),
}
"""File extensions of each source, in lower case; each may be followed by ".gz"."""
JOINED = "lines joined by a stray quotation mark"
"""Prefix of the problem of a `CellRow` with an unbalanced quotation mark."""
_PACKED = ".gz"
_GZIP_HEAD = b"\x1f\x8b\x08"  # RFC 1952: its two magic bytes and the only method, deflate; not UTF-8
csv.field_size_limit(2**31 - 1)  # characters per cell; Python's default is 131,072
_FEW_LINES, _MANY_LINES = 8, 50  # lines inside a quoted cell that look like rows
_RARE = 0.05  # multi-line rows are rare in a file if their fraction is at most this


def ending_of(path: str) -> str:
    """The file extension in lower case, without ".gz".

    >>> ending_of("data/Q.TSV.GZ"), ending_of("notes")
    ('.tsv', '')
    """
    name = os.path.basename(path).lower()
    return os.path.splitext(name.removesuffix(_PACKED))[1]


def source_of(path: str) -> str:
    """The format of a file by its extension: "csv", "tsv" or "jsonl", else "text".

    >>> [source_of(name) for name in ("q.csv", "q.TSV", "q.ndjson.gz", "q.JSONL", "q.txt", "-")]
    ['csv', 'tsv', 'jsonl', 'jsonl', 'text', 'text']
    """
    ending = ending_of(path)
    return next((source for source in ("csv", "tsv", "jsonl") if ending in ENDINGS[source]), "text")


def has_ending(path: str, source: str) -> bool:
    """Whether a file has an extension of `source`, such as "a.TXT.gz" for "text"."""
    return ending_of(path) in ENDINGS[source]


def open_unpacked(path: str) -> BinaryIO:
    """Opens a file for reading bytes, decompressed if its name ends in ".gz" or its content is gzip.

    Raises:
        OSError: the file cannot be opened. Reading a damaged gzip file raises OSError, EOFError or zlib.error.
    """
    file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    packed = path.lower().endswith(_PACKED)
    if not packed and file.seekable():
        packed = file.read(len(_GZIP_HEAD)) == _GZIP_HEAD
        file.seek(0)
    if not packed:
        return file
    file.close()
    return gzip.open(path)  # type: ignore[return-value]


class CellRow(NamedTuple):
    """A row of a table."""

    line: int
    """First line, from 1."""
    cells: list[str]
    """Empty for a bad row."""
    num_lines: int = 1
    """Number of lines; for a bad row including the lines lost with it."""
    problem: str = ""
    """Why the row is bad; "" for a good row."""


def read_cells(lines: Iterable[str], source: str) -> Iterator[CellRow]:
    """Streams the rows of a table, including the header; blank lines are skipped.

    >>> [row.cells for row in read_cells(['a, b\\n', '"one\\n', 'two", 3\\n'], "csv")]
    [['a', ' b'], ['one\\ntwo', ' 3']]

    An unbalanced quotation mark swallows all lines up to the next mark or the end of the file. The row is bad if that
    is invalid csv, or if the lines inside the cell look like rows of the table: nearly all have its number of cells.

    Args:
        lines: lines with their line ends.
        source: "csv" (RFC 4180) or "tsv" (tabs, no quoting).
    """
    counter = _Counter(lines)
    if source == "csv":
        reader = csv.reader(counter, strict=True)
    else:
        reader = csv.reader(counter, delimiter="\t", quoting=csv.QUOTE_NONE)
    width = num_rows = num_long = 0
    while True:
        line = counter.number + 1
        counter.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found = "not readable as csv" if len(counter.taken) == 1 else JOINED
            yield CellRow(line, [], len(counter.taken), f"{found} ({error})")
            continue
        if not cells:
            continue
        width = width or len(cells)
        if len(counter.taken) > 1 and _is_swallowed(counter.taken, width, num_rows, num_long):
            yield CellRow(line, [], len(counter.taken), JOINED)
            continue
        num_rows += 1
        num_long += len(counter.taken) > 1
        yield CellRow(line, cells, len(counter.taken))


class _Counter:
    """Passes lines to the csv reader, counts them (also after a csv.Error) and keeps those of the current row."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = iter(lines)
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> "_Counter":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        self.taken.append(line)
        return line


def _is_swallowed(lines: list[str], width: int, num_rows: int, num_long: int) -> bool:
    """Whether a multi-line row is many rows joined by unbalanced quotation marks.

    Lines of prose may have the number of commas of the table by chance, so short cells are accepted, and longer ones if
    multi-line cells are common. In a table with one column, every line looks like a row: a cell of many lines is
    rejected if there was no multi-line row before.

    Args:
        lines: lines of the row.
        width: number of columns.
        num_rows: number of rows before this one.
        num_long: number of multi-line rows among them.
    """
    inner = lines[1:-1]
    if width == 1:
        return len(inner) >= _MANY_LINES and num_rows >= 10 and not num_long
    is_rare = num_long <= _RARE * num_rows
    few = max(_FEW_LINES // (width - 1), 4)
    if len(inner) < (few if is_rare else _MANY_LINES):
        return False
    full = sum(len(next(csv.reader([line]), [])) == width for line in inner)
    return full >= 0.9 * len(inner)
