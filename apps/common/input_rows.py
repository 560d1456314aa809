"""The lines of an app's input, plain or of a table, read by the same rules as training data.

The ending says how a file is written, in any case and packed with gzip or not; `tflm.files.formats` knows them. A line
that cannot be read is marked in its place, and the rest is read.
"""

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from tflm.data.sources.tables import check_columns, header_names, parse_object
from tflm.errors import UserError
from tflm.files.encodings import HEAD_BYTES, decode_lines, detect_encoding
from tflm.files.formats import ending_of, open_unpacked, read_cells, source_of

Fields = dict[str, str]
Columns = Mapping[str, str]
FORMATS = ("text", "csv", "tsv", "jsonl")
FILES = (
    "a table with a header (.csv, .tsv), in which a quoted cell of CSV may have several lines; or one JSON object per "
    "line (.jsonl, .ndjson). Each ending may be followed by .gz. UTF-8, or UTF-16 with a byte-order mark."
)
"""For --help: the formats besides plain lines."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One line of the input, or a row of csv that takes several."""

    place: str
    """Such as "reviews.tsv, line 3"."""
    fields: Fields
    """Name to text; empty for a bad line."""
    problem: str = ""
    """What is wrong with a bad line, and what to do."""
    line: int = 1
    """Where it begins, from 1."""
    num_lines: int = 1
    """The lines that it takes; of a bad row those that are lost with it."""


def read_file(path: str, format_name: str, columns: Columns, flag: str = "--input") -> Iterator[Item]:
    """The lines of a file, in order.

    Args:
        format_name: one of FORMATS; "auto" for what the file's ending says.
        columns: name of a field to that of its column, or to its number, from 0.
        flag: that names the file, for messages.
    Raises:
        UserError: the file cannot be read, is no text in a known encoding, or has no such column.
    """
    try:
        with open_unpacked(path) as file:
            yield from read_stream(file, path, _format_of(path, format_name), columns)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"{error}. Check the file"
        raise UserError(f"cannot read {flag}={path}: {reason}.") from error


def read_stream(file: BinaryIO, name: str, format_name: str, columns: Columns) -> Iterator[Item]:
    """The same of an open file, unpacked, in one of FORMATS."""
    lines = _decoded(file, name)
    if format_name in ("csv", "tsv"):
        return _rows(lines, name, format_name, columns)
    return _objects(lines, name, columns) if format_name == "jsonl" else _lines(lines, name, columns)


def bad_lines(items: Iterable[Item]) -> tuple[int, str]:
    """How many lines bad items take, and what is wrong with the first of them; (0, "") where none is bad."""
    bad = [item for item in items if item.problem]
    return sum(item.num_lines for item in bad), f"{bad[0].place}: {bad[0].problem}" if bad else ""


def _format_of(path: str, format_name: str) -> str:
    """How a file is written. JSON in a file that ends in .json is one object a line, or refused by name."""
    if format_name != "auto":
        return format_name
    if ending_of(path) != ".json":
        return source_of(path)
    with open_unpacked(path) as file:
        line = next((line for _, line, _ in _decoded(file, path) if line.strip()), "{}")
    if problem := parse_object(line)[1]:
        raise UserError(
            f"{path} is {problem}, in a file that ends in .jsonl. For plain lines say --input_format=text."
        )
    return "jsonl"


_Line = tuple[int, str, str]  # number, text, problem


def _lines(lines: Iterator[_Line], name: str, columns: Columns) -> Iterator[Item]:
    """A text a line; of several fields, with tabs between them."""
    fields = list(columns)
    for number, line, problem in lines:
        cells = line.split("\t") if len(fields) > 1 else [line]
        if not problem and len(cells) != len(fields):
            problem = (
                f"expected {' and '.join(fields)} with a tab between; got {len(cells)} parts: {line[:80]!r}."
            )
        found = {} if problem else dict(zip(fields, cells, strict=True))
        yield Item(f"{name}, line {number}", found, problem, number)


def _rows(lines: Iterator[_Line], name: str, source: str, columns: Columns) -> Iterator[Item]:
    """The rows of a table: csv (RFC 4180), or cells between tabs, nothing quoted, as GLUE and CLUE have them."""
    problems: dict[int, str] = {}
    columns = {field: column.strip() for field, column in columns.items()}
    by_number = all(column.isdecimal() for column in columns.values())
    numbers: dict[str, int] | None = None
    width = 0
    for row in read_cells(_noted(lines, problems), source):
        last = row.line + row.num_lines - 1
        place = f"{name}, line {last}" if row.num_lines == 1 else f"{name}, lines {row.line} to {last}"
        problem = next((problems[line] for line in range(row.line, last + 1) if line in problems), "")
        if row.problem and not problem:
            problem = f"{row.problem}. Inside a quoted cell write a quotation mark twice."
        if numbers is None and not (problem and by_number):
            if problem:
                raise UserError(f"{place}, which should name the columns, is {problem}")
            header = (
                [str(number) for number in range(len(row.cells))] if by_number else header_names(row.cells)
            )
            numbers, width = _numbers(header, place, columns), len(header)
            if not by_number:
                continue
        if not problem and len(row.cells) != width:
            between, separator = ("commas", ",") if source == "csv" else ("tabs", "\t")
            shown = separator.join(row.cells)[:80]
            problem = f"expected {width} cells with {between} between; got {len(row.cells)}: {shown!r}."
        found = {field: row.cells[number] for field, number in (numbers or {}).items()} if not problem else {}
        yield Item(place, found, problem, row.line, row.num_lines)
    if numbers is None and not by_number:
        raise UserError(f"{name} is empty; its first line should name the columns.")


def _numbers(header: list[str], place: str, columns: Columns) -> dict[str, int]:
    """The numbers of the columns in a header."""
    for field, column in columns.items():
        try:
            check_columns([column], header, place)
        except UserError as error:
            raise UserError(
                f"{error}. Say which is the {field} with --{field}_column=NAME; without a header, with "
                f"--{field}_column=NUMBER, from 0."
            ) from error
    return {field: header.index(column) for field, column in columns.items()}


def _noted(lines: Iterator[_Line], problems: dict[int, str]) -> Iterator[str]:
    """The lines with an end each; their problems go where the rows find them."""
    for number, line, problem in lines:
        if problem:
            problems[number] = problem
        yield line + "\n"


def _objects(lines: Iterator[_Line], name: str, columns: Columns) -> Iterator[Item]:
    """JSON objects, one a line; blank lines are passed over."""
    shape = "{" + ", ".join(f'"{column}": "..."' for column in columns.values()) + "}"
    for number, line, problem in lines:
        record: Any = None
        if not problem:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                problem = f"not JSON: {error.msg} at column {error.colno}. Expected {shape}."
            except ValueError:  # what Python refuses to read, since it takes long
                problem = f"JSON with a number of thousands of digits. Expected {shape}."
            except RecursionError:
                problem = f"JSON that is nested too deep. Expected {shape}."
        fields = {}
        if not problem:
            record = record if isinstance(record, dict) else {}
            fields = {field: _as_text(record.get(column)) for field, column in columns.items()}
            if not all(isinstance(value, str) for value in fields.values()):
                fields, problem = {}, f"expected {shape}; got {line[:80]}"
        yield Item(f"{name}, line {number}", fields, problem, number)


def _as_text(value: Any) -> Any:
    """A number as its text; scores come as either."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _decoded(file: BinaryIO, name: str) -> Iterator[_Line]:
    """Number, text and problem of each line. A byte-order mark before it goes: files with one may have been joined.

    Raises:
        UserError: the first bytes are those of another encoding, or of no text.
    """
    if (
        hasattr(file, "peek") and not file.isatty()
    ):  # at a terminal it would wait for a second end of the input
        detect_encoding(file.peek(HEAD_BYTES), name)
    lines, _ = decode_lines(file, name)
    for number, raw in enumerate(_split(lines), start=1):
        problem = ""
        try:
            line = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.decode("utf-8", "replace")
            problem = f"not UTF-8: {error.reason} at byte {error.start}. Save the file as UTF-8."
        if "\0" in line:
            place = line.index("\0") + 1
            problem = f"not text: it holds a NUL at character {place}. Remove it, or save the file as UTF-8."
        yield number, line, problem


def _split(file: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends: "\\n", "\\r\\n" or "\\r", as where examples are read to train with; "\\r\\r\\n" is one.

    >>> list(_split([b"a\\r\\n", b"b\\rc\\n", b"d"]))
    [b'a', b'b', b'c', b'd']
    """
    for raw in file:
        yield from raw.rstrip(b"\r\n").split(b"\r")
