"""What goes through an app: texts or rows in, one result each out, in the same order.

A line that cannot be read is marked in its place and the rest goes on; the exit code says at the end that there were
such lines.
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from tqdm import tqdm

from tflm.errors import UsageError, UserError
from tflm.serving.remote import ServerError

Fields = dict[str, str]
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Item:
    """One line of the input."""

    place: str
    """Such as "reviews.tsv, line 3"."""
    fields: Fields
    """Name to text; empty for a bad line."""
    problem: str = ""
    """What is wrong with a bad line, and what to do."""


def define_items(flag_values: flags.FlagValues, fields: Mapping[str, str], batch_size: int = 32) -> None:
    """A flag for each field, --input, --format, --batch_size, --limit, --offset, and a --FIELD_column for each.

    Args:
        fields: name of a field to what it is, the main one first: {"text": "A text to label."}.
        batch_size: the default; 1 where someone may wait for each answer before going on.
    """
    names = tuple(fields)
    for name, meaning in fields.items():
        flags.DEFINE_string(name, None, f"{meaning} Given here, for one.", flag_values=flag_values)
        flags.DEFINE_string(
            f"{name}_column",
            name,
            f"Where {name!r} is in a table: the name of its column in JSONL, or in TSV with a header; in TSV without "
            "one its number, from 0.",
            flag_values=flag_values,
        )
    lines = (
        "one text a line" if len(names) == 1 else f"a line each with {' and '.join(names)} and a tab between"
    )
    flags.DEFINE_string(
        "input",
        None,
        f"A file: {lines}; a table with a header (ending .tsv); or JSON objects, one a line (ending .jsonl). '-' or "
        "nothing: standard input.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format",
        "text",
        ["text", "tsv", "json"],
        "How to print: text, a table, or JSON objects.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "batch_size", batch_size, "Lines in one request.", lower_bound=1, flag_values=flag_values
    )
    flags.DEFINE_integer("limit", 0, "Lines to read; 0 for all.", lower_bound=0, flag_values=flag_values)
    flags.DEFINE_integer("offset", 0, "Lines to pass over first.", lower_bound=0, flag_values=flag_values)


def read_items(flag_values: flags.FlagValues, names: Sequence[str]) -> Iterator[Item]:
    """The lines that the flags or a file or standard input give, in order.

    Args:
        names: of the fields, as given to `define_items`.
    Raises:
        UsageError: only some of the fields are given as flags.
        UserError: the file cannot be read, or has no such column.
    """
    given: Fields = {name: str(value) for name in names if (value := flag_values[name].value) is not None}
    if given:
        if missing := [name for name in names if name not in given]:
            raise UsageError(f"--{missing[0]} is needed beside --{next(iter(given))}.")
        yield Item("the command line", given)
        return
    begin = flag_values.offset
    end = begin + flag_values.limit if flag_values.limit else None
    columns = {name: str(flag_values[f"{name}_column"].value) for name in names}
    path = flag_values.input or "-"
    if path == "-":
        if sys.stdin is None:
            raise UserError(
                f"standard input is closed, and there is no --{names[0]} and no --input: give one."
            )
        yield from itertools.islice(_lines(sys.stdin.buffer, "standard input", columns), begin, end)
        return
    try:
        with open(path, "rb") as file:
            read = {"tsv": _rows, "jsonl": _objects}.get(path.rpartition(".")[2], _lines)
            yield from itertools.islice(read(file, path, columns), begin, end)
    except OSError as error:
        raise UserError(f"cannot read --input={path}: {error.strerror}.") from error


def answer_items(
    flag_values: flags.FlagValues,
    names: Sequence[str],
    answer_fn: Callable[[list[Fields]], Iterable[Sequence[Record]]],
    show_fn: Callable[[Record], str],
) -> None:
    """Reads all items, answers them in batches and prints the results as they come.

    Args:
        names: of the fields.
        answer_fn: fields of some items -> for each the records of its results; none where nothing is to be said.
        show_fn: a record as text.
    Raises:
        UserError: lines were bad; after all others were answered.
        ServerError: the server is gone; says how many lines were answered, and how to go on.
    """
    printer, items = Printer(flag_values.format, show_fn), read_items(flag_values, names)
    at_terminal = flag_values.input in (None, "-") and sys.stdin is not None and sys.stdin.isatty()
    size = 1 if at_terminal else flag_values.batch_size
    num_items, bad = 0, []
    try:
        with _progress() as bar:
            for batch in _batched(items, size):
                good = [item.fields for item in batch if not item.problem]
                results = iter(answer_fn(good)) if good else iter(())
                for item in batch:
                    if item.problem:
                        bad.append(item)
                        printer.mark(item)
                    else:
                        for result in next(results):
                            printer.show(result)
                    num_items += 1
                bar.update(len(batch))
    except ServerError as error:
        if not num_items:
            raise
        go_on = f"{num_items} lines are done; go on with --offset={flag_values.offset + num_items}."
        raise ServerError(f"{str(error).removesuffix('.')}. {go_on}") from error
    if bad:
        raise UserError(
            f"{len(bad)} of {num_items} lines could not be read and are marked in the output; the first is "
            f"{bad[0].place}: {bad[0].problem}"
        )


class Printer:
    """One result after the other, in the format asked for."""

    def __init__(self, format_name: str, show_fn: Callable[[Record], str]) -> None:
        self.format, self.show_fn, self.columns = format_name, show_fn, []  # type: ignore[var-annotated]

    def show(self, record: Record) -> None:
        """Prints a result."""
        if self.format == "json":
            self._print(json.dumps(record, ensure_ascii=False))
        elif self.format == "text":
            self._print(self.show_fn(record))
        else:
            flat = _flat(record)
            if not self.columns:
                self.columns = list(flat)
                self._print("\t".join(self.columns))
            self._print("\t".join(_cell(flat.get(name, "")) for name in self.columns))

    def mark(self, item: Item) -> None:
        """Prints what is wrong with a line in the place of its result."""
        if self.format == "json":
            self._print(json.dumps({"error": f"{item.place}: {item.problem}"}, ensure_ascii=False))
        else:
            self._print(f"# error: {item.place}: {item.problem}")

    def _print(self, line: str) -> None:
        print(line, flush=True)


def _flat(record: Record) -> dict[str, Any]:
    """{"label": "a", "scores": {"a": 0.9}} to {"label": "a", "scores.a": 0.9}."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat.update(
            {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat


def _cell(value: Any) -> str:
    """A value without tabs and line ends."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return text.translate(str.maketrans("\t\r\n", "   "))


def _progress() -> Any:
    """A bar on standard error, where results go elsewhere and someone looks."""
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    return tqdm(unit=" lines", delay=1, disable=hidden)


def _batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _lines(file: Iterable[bytes], name: str, columns: Mapping[str, str]) -> Iterator[Item]:
    """A text a line; of several fields, with tabs between them."""
    fields = list(columns)
    for place, line, problem in _decoded(file, name):
        cells = line.split("\t") if len(fields) > 1 else [line]
        if not problem and len(cells) != len(fields):
            problem = (
                f"expected {' and '.join(fields)} with a tab between; got {len(cells)} parts: {line[:80]!r}."
            )
        yield Item(place, {} if problem else dict(zip(fields, cells, strict=True)), problem)


def _rows(file: Iterable[bytes], name: str, columns: Mapping[str, str]) -> Iterator[Item]:
    """Cells between tabs, nothing quoted, as GLUE and CLUE have them."""
    lines = _decoded(file, name)
    if all(column.isdecimal() for column in columns.values()):
        header, numbers = [], {field: int(column) for field, column in columns.items()}
    else:
        place, line, problem = next(lines, (name, "", ""))
        if problem:
            raise UserError(f"{place}, which should name the columns, is {problem}")
        header = line.split("\t") if line else []
        if missing := [field for field, column in columns.items() if column not in header]:
            field = missing[0]
            raise UserError(
                f"{name} has no column {columns[field]!r}: its first line is {header}. Say which is the {field} with "
                f"--{field}_column=NAME; without a header, with --{field}_column=NUMBER, from 0."
            )
        numbers = {field: header.index(column) for field, column in columns.items()}
    for place, line, problem in lines:
        cells = line.split("\t")
        if not problem and (len(cells) != len(header) if header else len(cells) <= max(numbers.values())):
            expected = len(header) if header else f"{max(numbers.values()) + 1} or more"
            problem = f"expected {expected} cells with tabs between; got {len(cells)}: {line[:80]!r}."
        yield Item(
            place, {} if problem else {field: cells[number] for field, number in numbers.items()}, problem
        )


def _objects(file: Iterable[bytes], name: str, columns: Mapping[str, str]) -> Iterator[Item]:
    """JSON objects, one a line; empty lines are passed over."""
    shape = "{" + ", ".join(f'"{column}": "..."' for column in columns.values()) + "}"
    for place, line, problem in _decoded(file, name):
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
        yield Item(place, fields, problem)


def _as_text(value: Any) -> Any:
    """A number as its text; scores come as either."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _decoded(file: Iterable[bytes], name: str) -> Iterator[tuple[str, str, str]]:
    """Place, text and problem of each line. A byte-order mark before it goes: files with one may have been joined."""
    for number, raw in enumerate(_split(file), start=1):
        try:
            line, problem = raw.decode("utf-8-sig"), ""
        except UnicodeDecodeError as error:
            line, problem = "", f"not UTF-8: {error.reason} at byte {error.start}. Save the file as UTF-8."
        yield f"{name}, line {number}", line, problem


def _split(file: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends: "\\n", "\\r\\n" or "\\r", as where examples are read to train with; "\\r\\r\\n" is one.

    >>> list(_split([b"a\\r\\n", b"b\\rc\\n", b"d"]))
    [b'a', b'b', b'c', b'd']
    """
    for raw in file:
        yield from raw.rstrip(b"\r\n").split(b"\r")
