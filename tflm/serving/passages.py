"""Passages: pieces of documents, short enough for a model to read, that know where they come from.

A passage ends where a paragraph does, or a sentence, English or Chinese; and where it cannot, the next one begins some
characters earlier, so that an answer that a cut would part is whole in one of the two.
"""

import bisect
import dataclasses
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator

from tflm.errors import UserError

DEFAULT_LENGTH = 500
MIN_LENGTH = 20
ENDINGS = (".txt", ".md", ".rst", ".py", ".jsonl", ".tsv")
"""The files of a folder that are read; one that is named itself may end otherwise."""
INDEX_FILE = "passage_index.json"
"""A folder that holds it is an index of passages, and no document."""

_OVERLAP = 0.2  # of the length of a passage
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n")
_SENTENCE_END = re.compile(r"[。！？…]+[”’」』）】》]*|[.!?]+[\"'”’)\]]*(?=\s)|\n")
_PART_END = re.compile(r"[，、；：]|\s")


@dataclasses.dataclass(frozen=True)
class Passage:
    """A piece of a document.

    The text is `text_of_file[start:end]`, the file decoded as UTF-8 with its line ends as they are. Of a JSONL file,
    where that would have JSON's escapes in it, `start` and `end` count in the text of the record, and both lines are
    the record's.
    """

    file: str
    start: int
    """In characters (code points), from 0."""
    end: int
    first_line: int
    """Counted from 1, as editors do."""
    last_line: int
    text: str


def line_of(passage: Passage, start_character: int) -> int:
    """The line of its file in which a character of a passage stands.

    >>> line_of(Passage("a.txt", 40, 47, 3, 4, "one\\ntwo"), start_character=4)
    4

    Args:
        start_character: from 0, in the passage's text.
    """
    return min(passage.first_line + passage.text.count("\n", 0, start_character), passage.last_line)


def find_documents(patterns: Iterable[str]) -> list[str]:
    """The files that some files, folders and globs name, each once, in order.

    Of a folder and those below it, files that end in one of ENDINGS; nothing whose name begins with a dot, and no
    index of passages.

    Raises:
        UserError: nothing is there, or a folder has no such file.
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
    """The passages of a file, and what of it could not be read.

    >>> cut_document("One two. 三四。\\n".encode(), "a.txt", length=20)
    ([Passage(file='a.txt', start=0, end=12, first_line=1, last_line=1, text='One two. 三四。')], '')

    A JSONL file gives the field "text" of each line, a TSV file each line, in passages of their own.

    Args:
        data: what the file holds; UTF-8, which is not guessed at.
        file: its path; the ending says how it is read.
        length: the most characters of a passage, MIN_LENGTH at least.
    Returns:
        passages, none of them blank; the problem, "" where there is none.
    Raises:
        UserError: length is too small.
    """
    if length < MIN_LENGTH:
        raise UserError(f"a passage has {MIN_LENGTH} characters at least; got a length of {length}.")
    if b"\0" in data:
        return [], "left out: a binary file. Give plain text."
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [], f"left out: not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
    if file.lower().endswith(".jsonl"):
        return _cut_records(text, file, length)
    line_starts = [match.end() for match in re.finditer("\n", text)]
    areas = [(0, len(text))]
    if file.lower().endswith(".tsv"):
        areas = list(zip([0, *line_starts], [*line_starts, len(text)], strict=True))
    spans = [span for begin, end in areas for span in cut_text(text, begin, end, length)]
    passages = []
    for start, end in spans:
        first, last = (bisect.bisect_right(line_starts, place) + 1 for place in (start, end - 1))
        passages.append(Passage(file, start, end, first, last, text[start:end]))
    return passages, ""


def cut_text(text: str, begin: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """Where the passages of `text[begin:end]` begin and end; without the blanks around them.

    >>> text = "One sentence. Another one. The last one."
    >>> [text[start:stop] for start, stop in cut_text(text, 0, len(text), length=30)]
    ['One sentence. Another one.', 'The last one.']

    A passage ends at the last end of a paragraph in its second half; else at that of a sentence or a line, of a word or
    part of a sentence, or after `length` characters. But for a paragraph's, the next begins with the last sentences of
    this one, if they fit into a fifth of the length; or, where no sentence ended, with its last words or characters.
    """
    begin = _skip_blanks(text, begin, end)
    end = begin + len(text[begin:end].rstrip())
    while end - begin > length:
        least, most = begin + length // 2, begin + length
        for pattern in (_PARAGRAPH_END, _SENTENCE_END, _PART_END):
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
    """Where the passage after one that ends at `stop` begins."""
    if pattern is _PARAGRAPH_END:
        return stop
    overlap = stop - int(_OVERLAP * length)
    if pattern is not None:
        starts = [match.end() for match in pattern.finditer(text, overlap, stop)]
        return min(starts, default=stop)
    return overlap


def _skip_blanks(text: str, begin: int, end: int) -> int:
    """The first character that is to be seen; a byte-order mark is not."""
    while begin < end and (text[begin].isspace() or text[begin] == "\ufeff"):
        begin += 1
    return begin


def _cut_records(text: str, file: str, length: int) -> tuple[list[Passage], str]:
    """The passages of a JSONL file, each of one line."""
    passages, bad = [], []
    for line, row in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
        except (ValueError, RecursionError):
            record = None
        content = record.get("text") if isinstance(record, dict) else None
        if not isinstance(content, str):
            bad.append(line)
            continue
        spans = cut_text(content, 0, len(content), length)
        passages += [Passage(file, start, end, line, line, content[start:end]) for start, end in spans]
    problem = ""
    if bad:
        problem = f'{len(bad)} lines left out, line {bad[0]} the first: expected {{"text": "..."}} in each.'
    return passages, problem


def _files_below(folder: str) -> list[str]:
    """The documents of a folder, in a fixed order."""
    files = []
    for place, folders, names in os.walk(folder):
        if INDEX_FILE in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        files += [
            os.path.join(place, name)
            for name in sorted(names)
            if name.lower().endswith(ENDINGS) and not name.startswith(".")
        ]
    return files
