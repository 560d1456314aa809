"""Masks the lines of a file: plain text, csv, tsv or JSON lines. What is not masked stays as it is, byte for byte."""

import dataclasses
import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from tflm.data.personal.masking import Masker
from tflm.data.sources.tables import check_columns, header_names
from tflm.errors import UserError
from tflm.files.formats import read_cells

_NUM_PLACES = 20
_CSV_CELL = re.compile(r'"(?:[^"]|"")*"[^,]*|[^,]*')
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[\[\]{}:,]')


@dataclasses.dataclass
class MaskReport:
    """What was masked, updated while the lines are read."""

    num_lines: int = 0
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    """Number of spans by kind."""
    lines: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """Kind to the lines of the first spans, from 1."""
    bad_rows: list[str] = dataclasses.field(default_factory=list)
    """Rows that cannot be read as a table or as JSON, and were masked as plain text: "line 7: why"."""

    def add(self, kind: str, line: int) -> None:
        """Counts a span."""
        self.counts[kind] += 1
        if len(places := self.lines.setdefault(kind, [])) < _NUM_PLACES:
            places.append(line)


class FileMasker:
    """Masks lines of one format.

    Args:
        masker: finds and masks.
        format_name: "text", "csv", "tsv" or "jsonl".
        columns: those that are masked, by name, or in a table without a header by number, from 0; all when empty. Of
            JSON all strings in the value of a column are masked, and whole numbers that are personal data.
    """

    def __init__(self, masker: Masker, format_name: str, columns: Sequence[str] = ()) -> None:
        self._masker, self._format, self._columns = masker, format_name, list(columns)
        self.report = MaskReport()

    def masked(self, lines: Iterable[str], name: str) -> Iterator[str]:
        """The masked lines.

        Args:
            lines: with their ends.
            name: of the file, for messages.
        Raises:
            UserError: there is no such column.
        """
        if self._format == "jsonl":
            return self._objects(lines, name)
        return self._rows(lines, name) if self._format in ("csv", "tsv") else self._texts(lines)

    def _mask(self, text: str, line: int) -> str:
        masked = self._masker.mask(text)
        for span in masked.spans:
            self.report.add(span.kind, line)
        return masked.text

    def _texts(self, lines: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            self.report.num_lines = number
            yield self._mask(line, number)

    def _rows(self, lines: Iterable[str], name: str) -> Iterator[str]:
        """The lines of each row as they were written, with masked cells."""
        raw: deque[str] = deque()

        def noted() -> Iterator[str]:
            for line in lines:
                raw.append(line)
                yield line.removeprefix("\ufeff")

        numbers: set[int] | None = None
        done, by_number = 0, all(column.isdecimal() for column in self._columns)
        for row in read_cells(noted(), self._format):
            while done < row.line - 1:  # blank lines
                yield raw.popleft()
                done += 1
            text = "".join(raw.popleft() for _ in range(row.num_lines))
            done += row.num_lines
            self.report.num_lines = done
            if row.problem:
                self.report.bad_rows.append(f"line {row.line}: {row.problem}")
                yield self._mask(text, row.line)
                continue
            if numbers is None:
                place = f"{name}, line {row.line}"
                header = list(map(str, range(len(row.cells)))) if by_number else header_names(row.cells)
                check_columns(self._columns, header, place)
                numbers = {header.index(column) for column in self._columns} or set(range(len(header)))
                if not by_number:
                    yield text
                    continue
            yield self._masked_row(text, row.line, len(row.cells), numbers)
        yield from raw
        self.report.num_lines = done + len(raw)

    def _masked_row(self, text: str, line: int, num_cells: int, numbers: set[int]) -> str:
        """The row with masked cells. Tags hold no quotation mark, comma, tab or end of line."""
        separator = "," if self._format == "csv" else "\t"
        cells = _csv_cells(text) if self._format == "csv" else text.split("\t")
        if len(cells) != num_cells or num_cells <= max(numbers):
            return self._mask(text, line)
        return separator.join(
            self._mask(cell, line) if number in numbers else cell for number, cell in enumerate(cells)
        )

    def _objects(self, lines: Iterable[str], name: str) -> Iterator[str]:
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            self.report.num_lines = number
            try:
                if line.strip("\ufeff \t\r\n"):
                    json.loads(line.removeprefix("\ufeff"))
            except (ValueError, RecursionError) as error:
                self.report.bad_rows.append(f"line {number}: not JSON: {error}")
                yield self._mask(line, number)
            else:
                yield self._masked_object(line, number, seen)
        if missing := [column for column in self._columns if seen and column not in seen]:
            raise UserError(f"{name} has no column {missing[0]!r}; it has {', '.join(sorted(seen))}.")

    def _masked_object(self, line: str, number: int, seen: set[str]) -> str:
        """The line with masked strings; `seen` gets its columns."""
        parts, end, depth, column, place = [], 0, 0, "", 0
        tokens = list(_JSON_TOKEN.finditer(line))
        for place, token in enumerate(tokens):
            text = token[0]
            depth += (text in "[{") - (text in "]}")
            if text in "[]{}:,":
                continue
            if place + 1 < len(tokens) and tokens[place + 1][0] == ":":
                if depth == 1:
                    column = json.loads(text)
                    seen.add(column)
                continue
            if self._columns and column not in self._columns:
                continue
            parts += [line[end : token.start()], self._masked_value(text, number)]
            end = token.end()
        return "".join([*parts, line[end:]])

    def _masked_value(self, text: str, line: int) -> str:
        """A string or a number as JSON, masked."""
        if text[0] == '"':
            value = json.loads(text)
            masked = self._mask(value, line)
            return text if masked == value else json.dumps(masked, ensure_ascii=text.isascii())
        spans = self._masker.find(text)
        if len(spans) == 1 and (spans[0].start, spans[0].end) == (0, len(text)):
            return json.dumps(self._mask(text, line))
        return text


def _csv_cells(text: str) -> list[str]:
    """The cells of a row as they are written, with quotation marks, the end of the line with the last one.

    >>> _csv_cells('a,"b, c",d')
    ['a', '"b, c"', 'd']
    """
    cells, end = [], 0
    while True:
        found = _CSV_CELL.match(text, end)
        assert found is not None  # the second alternative matches anything
        cells.append(found[0])
        if found.end() >= len(text):
            return cells
        end = found.end() + 1
