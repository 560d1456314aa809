"""Passages: chunks of documents with their location.

Passages end at a paragraph or sentence boundary where possible; otherwise consecutive passages overlap, so that an
answer at the boundary is complete in one of them.
"""

import bisect
import codecs
import dataclasses
import glob
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tflm.errors import UserError
from tflm.files.encodings import decode_text
from tflm.files.formats import ending_of, read_cells, source_of
from tflm.text.sentences import END as END_OF_SENTENCE

DEFAULT_LENGTH = 500
MIN_LENGTH = 20
ENDINGS = (".txt", ".md", ".rst", ".py", ".jsonl", ".ndjson", ".csv", ".tsv")
"""Extensions of the documents in a folder, optionally followed by .gz; files given by name may have any extension."""
INDEX_FILE = "passage_index.json"
"""Marks a folder as a passage index, which is not read as documents."""

_OVERLAP = 0.2  # as a fraction of the passage length
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n")
_PART_END = re.compile(r"[，、；：]|\s")


@dataclasses.dataclass(frozen=True)
class Passage:
    """A chunk of a document.

    The text is `text_of_file[start:end]`, where the file is decoded with unchanged line ends. For JSONL and CSV files,
    `start` and `end` are positions in the text of the record, and the lines are those of the record.
    """

    file: str
    start: int
    """Start in characters (code points), from 0."""
    end: int
    """End in characters, exclusive."""
    first_line: int
    """First line, from 1."""
    last_line: int
    """Last line, inclusive."""
    text: str


def line_of(passage: Passage, start_character: int) -> int:
    """The line of a character of a passage in its file.

    >>> line_of(Passage("a.txt", 40, 47, 3, 4, "one\\ntwo"), start_character=4)
    4

    Args:
        passage: the passage.
        start_character: int, position in the text of the passage, from 0.
    """
    return min(passage.first_line + passage.text.count("\n", 0, start_character), passage.last_line)


def find_documents(patterns: Iterable[str]) -> list[str]:
    """The distinct files of paths, folders and globs, in order.

    Folders are searched recursively for files with an extension of ENDINGS, except hidden files and passage indexes.

    Raises:
        UserError: a path does not exist, or a folder has no document.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        named = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        files = [file for name in named for file in (_files_below(name) if os.path.isdir(name) else [name])]
        if not files:
            reason = f"has no file that ends in {', '.join(ENDINGS)}" if named else "is not there"
            raise UserError(
                f"{pattern!r} {reason}. Give files, folders or globs such as 'docs/**/*.md' as documents."
            )
        found.update(dict.fromkeys(files))
    return list(found)


def cut_document(data: bytes, file: str, length: int = DEFAULT_LENGTH) -> tuple[list[Passage], str]:
    """Splits a file into passages.

    >>> cut_document("One two. 三四。\\n".encode(), "a.txt", length=20)
    ([Passage(file='a.txt', start=0, end=12, first_line=1, last_line=1, text='One two. 三四。')], '')

    The field "text" of each line of a JSONL file, each line of a TSV file, and each row of a CSV file, with cells
    joined by tabs, is split separately.

    Args:
        data: content of the file, decompressed; UTF-8, or UTF-16 or UTF-32 with a byte-order mark.
        file: path of the file; its extension selects the format.
        length: int, maximum characters of a passage, at least MIN_LENGTH.
    Returns:
        The non-blank passages, and what could not be read, "" without a problem.
    Raises:
        UserError: length is too small.
    """
    if length < MIN_LENGTH:
        raise UserError(f"the passage length is at least {MIN_LENGTH} characters; got {length}.")
    try:
        text = decode_text(data, "it")
    except UserError as error:
        return [], f"skipped: {error}."
    source = source_of(file)
    if source in ("jsonl", "csv"):
        records = _objects(text) if source == "jsonl" else _rows(text)
        return _cut_records(records, file, length)
    if data.startswith(codecs.BOM_UTF8):
        text = f"\ufeff{text}"  # positions include the byte-order mark
    line_starts = [match.end() for match in re.finditer("\n", text)]
    areas = [(0, len(text))]
    if source == "tsv":
        areas = list(zip([0, *line_starts], [*line_starts, len(text)], strict=True))
    spans = [span for begin, end in areas for span in cut_text(text, begin, end, length)]
    passages = []
    for start, end in spans:
        first, last = (bisect.bisect_right(line_starts, place) + 1 for place in (start, end - 1))
        passages.append(Passage(file, start, end, first, last, text[start:end]))
    return passages, ""


def cut_text(text: str, begin: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the passages of `text[begin:end]`, without surrounding blanks.

    >>> text = "One sentence. Another one. The last one."
    >>> [text[start:stop] for start, stop in cut_text(text, 0, len(text), length=30)]
    ['One sentence. Another one.', 'The last one.']

    A passage ends at the last paragraph boundary in its second half; else at the last boundary of a sentence or line,
    then of a clause or word, then after `length` characters. Except after a paragraph, the next passage overlaps: it
    starts with the last sentences of this one that fit into a fifth of the length, or with its last words or characters
    if there is no sentence boundary.
    """
    begin = _skip_blanks(text, begin, end)
    end = begin + len(text[begin:end].rstrip())
    while end - begin > length:
        least, most = begin + length // 2, begin + length
        for pattern in (_PARAGRAPH_END, END_OF_SENTENCE, _PART_END):
            ends = [match.end() for match in pattern.finditer(text, least, most + 1)]
            if ends := [place for place in ends if place <= most]:
                stop = ends[-1]
                break
        else:
            pattern, stop = None, most
        yield begin, begin + len(text[begin:stop].rstrip())
        begin = _skip_blanks(text, _next_begin(text, stop, length, pattern), end)
    if begin < end:
        yield begin, end


def _next_begin(text: str, stop: int, length: int, pattern: re.Pattern[str] | None) -> int:
    """Start of the passage after one that ends at `stop`."""
    if pattern is _PARAGRAPH_END:
        return stop
    overlap = stop - int(_OVERLAP * length)
    if pattern is not None:
        starts = [match.end() for match in pattern.finditer(text, overlap, stop)]
        return min(starts, default=stop)
    return overlap


def _skip_blanks(text: str, begin: int, end: int) -> int:
    """Position of the first character that is not blank or a byte-order mark."""
    while begin < end and (text[begin].isspace() or text[begin] == "\ufeff"):
        begin += 1
    return begin


class _Record(NamedTuple):
    """A record of a file with one text per record."""

    line: int
    num_lines: int
    text: str
    problem: str


def _cut_records(records: Iterable[_Record], file: str, length: int) -> tuple[list[Passage], str]:
    """The passages of each record, and the number of lines that could not be read."""
    passages: list[Passage] = []
    num_bad, first = 0, ""
    for line, num_lines, content, problem in records:
        if problem:
            first = first or f"line {line} the first: {problem}"
            num_bad += num_lines
            continue
        last = line + num_lines - 1
        spans = cut_text(content, 0, len(content), length)
        passages += [Passage(file, start, end, line, last, content[start:end]) for start, end in spans]
    return passages, f"{num_bad} lines skipped, {first}." if num_bad else ""


def _objects(text: str) -> Iterator[_Record]:
    """The field "text" of each JSON line."""
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
        except (ValueError, RecursionError):
            record = None
        content = record.get("text") if isinstance(record, dict) else None
        if isinstance(content, str):
            yield _Record(line, 1, content, "")
        else:
            yield _Record(line, 1, "", 'expected {"text": "..."} in each')


def _rows(text: str) -> Iterator[_Record]:
    """The cells of each csv row, joined by tabs."""
    lines = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"))
    for row in read_cells(lines, "csv"):
        yield _Record(row.line, row.num_lines, "\t".join(row.cells), row.problem)


def _files_below(folder: str) -> list[str]:
    """The documents of a folder, recursively, in a fixed order."""
    files = []
    for place, folders, names in os.walk(folder):
        if INDEX_FILE in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        files += [
            os.path.join(place, name)
            for name in sorted(names)
            if ending_of(name) in ENDINGS and not name.startswith(".")
        ]
    return files
