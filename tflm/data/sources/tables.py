"""Rows with named columns: csv (RFC 4180), tsv (tabs, no quoting) and jsonl (one JSON object per line)."""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tflm.data.files import find_bad_character, read_lines
from tflm.data.sources.rows import Row
from tflm.errors import UserError
from tflm.files.formats import CellRow, read_cells


def check_columns(wanted: Iterable[str], present: Iterable[str], place: str) -> None:
    """Checks that each wanted column is present exactly once.

    Raises:
        UserError: a column is missing (the message lists the columns and suggests the closest), or duplicated.
    """
    present = list(present)
    for column in wanted:
        if present.count(column) > 1:
            first, second = [number for number, name in enumerate(present, 1) if name == column][:2]
            raise UserError(
                f"{place}: columns {first} and {second} are both named {column!r}; give each a unique name"
            )
        if column not in present:
            close = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(present)
            if find_bad_character(shown) >= 0:
                shown = shown.encode("utf-8", "replace").decode()
                hint = "; they are in another encoding: set data.encoding"
            raise UserError(f"{place}: no column {column!r}; the columns are {shown}{hint}")


def as_text(value: Any) -> str | None:
    """A JSON cell as text: strings unchanged, numbers as digits, null as ""; None for other types."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):  # bool is an int: True becomes "True"
        return str(value)
    return None


def read_table(
    files: list[str], columns: dict[str, str], source: str, encoding: str = "utf-8"
) -> Iterator[Row]:
    """Streams the rows of "csv" or "tsv" files.

    The first row of each file is its header, unless all columns are given by index ("0", "1"). Column names are
    stripped.

    Args:
        files: paths.
        columns: example key to column, such as {"source": "question", "target": "answer"}.
        source: "csv" or "tsv".
        encoding: Python name of the encoding.

    Raises:
        UserError: a column is missing from the header, or duplicated.
    """
    columns = {key: column.strip() for key, column in columns.items()}
    for file in files:
        yield from _read_file(file, read_cells(read_lines(file, encoding), source), columns)


def header_names(cells: list[str]) -> list[str]:
    """Column names without surrounding blanks and byte-order marks.

    >>> header_names(["\ufeffid", " review"])
    ['id', 'review']
    """
    return [cell.strip().strip("\ufeff").strip() for cell in cells]


def read_header(file: str, source: str, encoding: str = "utf-8") -> list[str]:
    """Column names of a "csv" or "tsv" file, or keys of the first object of a "jsonl" file.

    Raises:
        UserError: the file is empty, or its first row is bad.
    """
    lines = read_lines(file, encoding)
    if source == "jsonl":
        line = next((line for line in lines if not line.isspace()), "")
        record, problem, _ = parse_object(line) if line else ({}, "", 0)
        names = list(record)
    else:
        row = next(read_cells(lines, source), CellRow(1, []))
        names, problem = header_names(row.cells), row.problem
        if row.num_lines > 1 and problem:
            raise UserError(
                f"{file}: its header is lost: {problem}, {row.line} to {row.line + row.num_lines - 1}"
            )
    if problem:
        raise UserError(f"{file}: its first line, which names the columns, is {problem}")
    if not names:
        raise UserError(f"{file} is empty; its first line should name the columns")
    shown = ", ".join(names)
    if find_bad_character(shown) >= 0:
        raise UserError(
            f"{file}: the names of its columns are not {encoding.upper()}; set data.encoding (Chinese is often gb18030)"
        )
    return names


def _read_file(file: str, rows: Iterator[CellRow], columns: dict[str, str]) -> Iterator[Row]:
    """The rows of one file. `indices` is None until the header, or the first row without a header, is read."""
    by_number = all(column.isdecimal() for column in columns.values())
    indices: dict[str, int] | None = None
    width = 0
    for line, cells, num_lines, problem in rows:
        lost = Row(file, line, {}, problem or f"not {width} columns", num_lines=num_lines, num_rows=num_lines)
        if problem:
            yield lost
            continue
        if indices is None:
            header = [str(i) for i in range(len(cells))] if by_number else header_names(cells)
            check_columns(columns.values(), header, f"{file}:{line}")
            indices = {key: header.index(column) for key, column in columns.items()}
            width = len(cells)
            if not by_number:
                continue
        if len(cells) != width:
            yield lost
        else:
            example = {key: cells[index] for key, index in indices.items()}
            yield Row(file, line, example, num_lines=num_lines)


def read_jsonl(files: list[str], columns: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """Streams the rows of files with one JSON object per line; blank lines are skipped."""
    for file, number, record in read_records(files, columns.values(), encoding):
        yield record if isinstance(record, Row) else pick(file, number, record, columns)


def read_records(
    files: list[str], columns: Collection[str], encoding: str
) -> Iterator[tuple[str, int, dict[str, Any] | Row]]:
    """(file, line, object) of each non-blank line; a bad `Row` instead of the object for other lines.

    Raises:
        UserError: a column is missing from the first object.
    """
    checked = False
    for file in files:
        for number, line in enumerate(read_lines(file, encoding), 1):
            if line.isspace():
                continue
            record, problem, num_rows = parse_object(line)
            if problem:
                yield file, number, Row(file, number, {}, problem, num_rows=num_rows)
                continue
            if not checked:
                check_columns(columns, record, f"{file}:{number}")
                checked = True
            yield file, number, record


_NEXT_OBJECT = re.compile(r"\}\s*,?\s*\{")
_JSON_TYPES = {str: "string", bool: "boolean", type(None): "null"}


def parse_object(line: str) -> tuple[dict[str, Any], str, int]:
    """Parses a line of JSON lines.

    >>> parse_object('[{"text": "a"}, {"text": "b"}]')
    ({}, 'a JSON array; write one object a line', 2)

    Returns:
        The object, the problem ("" for a valid line), and the number of objects on the line.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        message = getattr(error, "msg", "nested too deeply, or a number too long")
        if message == "Extra data":
            return {}, "several JSON values; write one object a line", len(_NEXT_OBJECT.findall(line)) + 1
        if line.strip() in ("{", "["):
            return {}, "JSON over several lines; write one object a line", 1
        return {}, f"malformed JSON ({message})", 1
    if isinstance(record, dict):
        return record, "", 1
    if isinstance(record, list):
        return {}, "a JSON array; write one object a line", max(len(record), 1)
    kind = _JSON_TYPES.get(type(record), "number")
    return {}, f"a JSON {kind}, not an object; write one object a line", 1


def pick(file: str, line: int, record: dict[str, Any], columns: dict[str, str]) -> Row:
    """Selects the columns of a record.

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
