"""What goes through an app: texts or rows in, one result each out, in the same order.

A line that cannot be read is marked in its place and the rest is processed; the exit code says at the end that there
were such lines.
"""

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.progress import ProgressBar
from tflm.serving.client.remote import ServerError

from .cut_texts import CutTexts
from .input_rows import FILES, FORMATS, Fields, Item, bad_lines, read_file, read_stream

Record = dict[str, Any]
_NO_TABS = str.maketrans("\t\r\n", "   ")


def define_items(flag_values: flags.FlagValues, fields: Mapping[str, str], batch_size: int = 32) -> None:
    """A flag and a --FIELD_column for each field; --input, --input_format, --format, --batch_size, --limit, --offset.

    Args:
        fields: name of a field to what it is, the main one first: {"text": "A text to label."}.
        batch_size: the default; 1 where someone may wait for each answer before going on.
    """
    names = tuple(fields)
    for name, meaning in fields.items():
        flags.DEFINE_string(
            name,
            None,
            f"{meaning} In place of --input, for a single one.",
            flag_values=flag_values,
        )
        flags.DEFINE_string(
            f"{name}_column",
            name,
            f"The column of a table that holds {name!r}: its name in JSONL and in CSV or TSV with a header; without a "
            "header its number, from 0.",
            flag_values=flag_values,
        )
    lines = (
        "one text per line" if len(names) == 1 else f"lines with {' and '.join(names)}, separated by a tab"
    )
    flags.DEFINE_string(
        "input",
        None,
        f"A file: {lines}; {FILES} '-' is standard input, which is also read if nothing is given.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "input_format",
        "auto",
        ["auto", *FORMATS],
        "The format of --input or of standard input. auto goes by the ending of the file; standard input is plain "
        "lines.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format",
        "text",
        ["text", "csv", "tsv", "json"],
        "The format of the output: plain text, a table with a header, or one JSON object per line.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "batch_size", batch_size, "Lines per request to the model.", lower_bound=1, flag_values=flag_values
    )
    flags.DEFINE_integer("limit", 0, "Lines to read; 0 reads all.", lower_bound=0, flag_values=flag_values)
    flags.DEFINE_integer(
        "offset", 0, "Lines to skip at the beginning.", lower_bound=0, flag_values=flag_values
    )


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
            raise UsageError(f"--{missing[0]} is required with --{next(iter(given))}.")
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
        source = flag_values.input_format.replace("auto", "text")
        items = read_stream(sys.stdin.buffer, "standard input", source, columns)
    else:
        items = read_file(path, flag_values.input_format, columns)
    yield from itertools.islice(items, begin, end)


def answer_items(
    flag_values: flags.FlagValues,
    names: Sequence[str],
    answer_fn: Callable[[list[Fields]], Iterable[Sequence[Record]]],
    show_fn: Callable[[Record], str],
    config: Mapping[str, Any] | None = None,
) -> None:
    """Reads all items, answers them in batches and prints the results as they come; at the end it tells how many texts
    the model did not read whole.

    Args:
        names: of the fields.
        answer_fn: fields of some items -> for each the records of its results; none for an item without a result.
        show_fn: a record as text.
        config: of the model; says how much of a text it reads.
    Raises:
        UserError: lines were bad; after all others were answered.
        ServerError: the server is gone; says how many lines were answered, and how to go on.
    """
    printer, items = Printer(flag_values.format, show_fn), read_items(flag_values, names)
    at_terminal = flag_values.input in (None, "-") and sys.stdin is not None and sys.stdin.isatty()
    size = 1 if at_terminal else flag_values.batch_size
    num_items, bad, cut = 0, [], CutTexts(config or {})
    try:
        with ProgressBar("answering", "lines", delay=1, hidden=sys.stdout.isatty()) as bar:
            for batch in _batched(items, size):
                good = [item.fields for item in batch if not item.problem]
                results = iter(answer_fn(good)) if good else iter(())
                for item in batch:
                    if item.problem:
                        bad.append(item)
                        printer.mark(item)
                    else:
                        records = next(results)
                        cut.count(item.place, records)
                        for result in records:
                            printer.show(result)
                    num_items += 1
                bar.advance(len(batch))
    except ServerError as error:
        if not num_items:
            raise
        go_on = f"{num_items} lines are done; continue with --offset={flag_values.offset + num_items}."
        raise ServerError(f"{str(error).removesuffix('.')}. {go_on}") from error
    finally:
        cut.tell()
    if bad:
        num_lost, first = bad_lines(bad)
        raise UserError(
            f"{num_lost} of {num_items - len(bad) + num_lost} lines could not be read and are marked in the output; "
            f"the first is {first}"
        )


class Printer:
    """One result after the other, in the format asked for; csv is that of RFC 4180 with "\\n" as its line end."""

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
                self._print(self._row(self.columns))
            self._print(self._row([flat.get(name, "") for name in self.columns]))

    def mark(self, item: Item) -> None:
        """Prints what is wrong with a line in the place of its result."""
        if self.format == "json":
            self._print(json.dumps({"error": f"{item.place}: {item.problem}"}, ensure_ascii=False))
        else:
            line = f"# error: {item.place}: {item.problem}"
            self._print(self._row([line]) if self.format == "csv" else line)

    def _row(self, values: Sequence[Any]) -> str:
        """A row of a table. In tsv a cell has no tabs and no line ends; in csv it is quoted where it has to be."""
        cells = [
            json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
            for value in values
        ]
        if self.format == "tsv":
            return "\t".join(cell.translate(_NO_TABS) for cell in cells)
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(cells)
        return buffer.getvalue()

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


def _batched(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
