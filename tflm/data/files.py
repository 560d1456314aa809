"""Finding the files of a data set and reading their lines: globs, folders, gzip, encodings, byte-order marks."""

import glob
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from typing import TextIO

from tflm.errors import UserError

_NUM_LISTED = 12  # files named in a message
_ENDINGS = {
    "text": (".txt",),
    "jsonl": (".jsonl", ".ndjson"),
    "squad": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "conll": (".conll", ".bio", ".bioes", ".txt", ".tsv"),
    "segmented": (".txt", ".utf8"),
}


def find_files(path: str, source: str) -> list[str]:
    """The files that `path` (a file, a folder or a glob) stands for, sorted by name.

    Args:
        source: "text", "jsonl", "csv", "tsv", "conll" or "segmented"; says which files of a folder are meant.

    Raises:
        UserError: nothing is there, or a folder has no file with the source's ending.
    """
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        endings = tuple(ending + packed for ending in _ENDINGS[source] for packed in ("", ".gz"))
        found = [
            name for name in glob.glob(os.path.join(path, "**", "*"), recursive=True) if os.path.isfile(name)
        ]
        files = sorted(name for name in found if name.lower().endswith(endings))
        if not files:
            raise UserError(
                f"folder {path!r} has no file ending in {', '.join(endings)} (of {len(found)} files); "
                f"give a glob such as {os.path.join(path, '*')!r} to read files with another ending"
            )
        return files
    files = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not files:
        raise UserError(f"no file matches {path!r}; give an existing file, folder or glob")
    return files


def find_in_folder(folder: str, name: str, field: str) -> str:
    """The file `name` of a folder, or `name.gz`.

    Args:
        field: the setting that names it, for the message.

    Raises:
        UserError: there is no such folder, or no such file in it; lists the files there are.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder!r} is no folder; {field} names the file {name!r} inside it")
    for file in (os.path.join(folder, name), os.path.join(folder, name + ".gz")):
        if os.path.isfile(file):
            return file
    raise UserError(
        f"the folder {folder!r} has no file {name!r} (nor {name + '.gz'!r}), which {field} names; "
        f"its files are {list_files(folder)}"
    )


def list_files(folder: str) -> str:
    """The first names of a folder's files, for a message."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    return ", ".join(names[:_NUM_LISTED] + ["..."] * (len(names) > _NUM_LISTED)) or "none"


def read_lines(file: str, encoding: str = "utf-8", newline: str | None = None) -> Iterator[str]:
    """The lines of a text file, `.gz` or plain; a stream.

    A byte-order mark is taken off. A byte that does not belong to the encoding becomes a lone surrogate, so that
    one bad row does not end the reading; `find_bad_character` finds it later.

    Args:
        newline: what ends a line; None for each of "\\n", "\\r\\n" and "\\r", which become newlines.

    Raises:
        UserError: the file cannot be opened, its gzip stream is broken, or an encoding such as UTF-16 meets bytes
            that it cannot go on from; names file and line.
    """
    number = 0
    try:
        open_fn: Callable[..., TextIO] = gzip.open if file.endswith(".gz") else open
        with open_fn(file, "rt", encoding=encoding, errors="surrogateescape", newline=newline) as lines:
            for line in lines:
                number += 1
                yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeError as error:
        raise UserError(
            f"cannot read {file} after line {number}: not {encoding} ({error}); check data.encoding"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file} after line {number}: {error}; check the file") from error


def find_bad_character(text: str) -> int:
    """The place of the first character that UTF-8 cannot write (a lone surrogate), or -1.

    >>> find_bad_character("中文")
    -1
    >>> find_bad_character("ab\\udcff")
    2
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return -1
