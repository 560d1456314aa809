"""Rows with named columns: csv (RFC 4180), tsv (tabs, no quoting) and jsonl, one JSON object a line."""

import csv
import difflib
import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tflm.data.files import find_bad_character, read_lines
from tflm.data.rows import Row
from tflm.errors import UserError


def check_columns(wanted: Iterable[str], present: Iterable[str], place: str) -> None:
    """Raises UserError when a wanted column is missing: lists the columns there are, and the closest."""
    present = list(present)
    for column in wanted:
        if column not in present:
            close = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(present)
            if find_bad_character(shown) >= 0:
                shown = shown.encode("utf-8", "replace").decode()
                hint = "; they are in another encoding: set data.encoding"
            raise UserError(f"{place}: no column {column!r}; the columns are {shown}{hint}")


def as_text(value: Any) -> str | None:
    """A cell as text: strings as they are, numbers by their digits, null as empty; None for the rest."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):  # bool is an int: True becomes "True"
        return str(value)
    return None


def read_table(
    files: list[str], columns: dict[str, str], delimiter: str, encoding: str = "utf-8"
) -> Iterator[Row]:
    """Rows of csv (delimiter ",") or tsv ("\\t") files; a stream.

    The first row of every file is its header, unless all columns are given as numbers ("0", "1").

    Args:
        columns: example key -> column, such as {"source": "question", "target": "answer"}.
    """
    for file in files:
        counter = _Counter(read_lines(file, encoding))
        if delimiter == ",":
            cells = csv.reader(counter, strict=True)
        else:
            cells = csv.reader(counter, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        yield from _read_cells(file, counter, cells, columns)


csv.field_size_limit(2**31 - 1)  # of a cell; Python's own limit is 131,072 characters


class _Counter:
    """Counts the lines that the csv reader takes, which also counts on after a csv.Error."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines
        self.number = 0

    def __iter__(self) -> "_Counter":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        return line


def _read_cells(file: str, counter: _Counter, cells: Any, columns: dict[str, str]) -> Iterator[Row]:
    """The rows of one file. `indices` stays None until the header, or without one the first row, is seen."""
    by_number = all(column.isdecimal() for column in columns.values())
    indices: dict[str, int] | None = None
    width = 0
    while True:
        line = counter.number + 1
        try:
            row = next(cells)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(file, line, {}, f"not readable as csv ({error})")
            continue
        if not row:
            continue
        if indices is None:
            header = [str(i) for i in range(len(row))] if by_number else [name.strip() for name in row]
            check_columns(columns.values(), header, f"{file}:{line}")
            indices = {key: header.index(column) for key, column in columns.items()}
            width = len(row)
            if not by_number:
                continue
        if len(row) != width:
            yield Row(file, line, {}, f"not {width} columns")
        else:
            yield Row(file, line, {key: row[index] for key, index in indices.items()})


def read_jsonl(files: list[str], columns: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """Rows of files with one JSON object a line; blank lines are passed over; a stream."""
    for file, number, record in read_records(files, columns.values(), encoding):
        yield record if isinstance(record, Row) else pick(file, number, record, columns)


def read_records(
    files: list[str], columns: Collection[str], encoding: str
) -> Iterator[tuple[str, int, dict[str, Any] | Row]]:
    """File, line and JSON object of each line that is not blank; a bad row in place of an object that is none.

    Raises:
        UserError: the first object lacks a column.
    """
    checked = False
    for file in files:
        for number, line in enumerate(read_lines(file, encoding), 1):
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
                problem = (
                    f"malformed JSON ({getattr(error, 'msg', 'nested too deeply, or a number too long')})"
                )
                yield file, number, Row(file, number, {}, problem)
                continue
            if not isinstance(record, dict):
                problem = f"a JSON {type(record).__name__}, not an object"
                yield file, number, Row(file, number, {}, problem)
                continue
            if not checked:
                check_columns(columns, record, f"{file}:{number}")
                checked = True
            yield file, number, record


def pick(file: str, line: int, record: dict[str, Any], columns: dict[str, str]) -> Row:
    """The wanted columns of one record, as a row.

    >>> pick("f", 1, {"q": "2+2?", "a": 4}, {"source": "q", "target": "a"}).example
    {'source': '2+2?', 'target': '4'}
    """
    example = {}
    for key, column in columns.items():
        text = as_text(record.get(column))
        if text is None:
            return Row(file, line, {}, f"column {column!r} holds a {type(record[column]).__name__}, not text")
        example[key] = text
    return Row(file, line, example)
