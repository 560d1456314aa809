"""Data files: resolving paths, globs and folders; reading lines with gzip, encodings and byte-order marks."""

import glob
import io
import os
import zlib
from collections.abc import Iterator

from tflm.errors import UserError
from tflm.files.encodings import HEAD_BYTES, detect_encoding
from tflm.files.formats import ENDINGS, has_ending, open_unpacked

_NUM_LISTED = 12  # file names per message


def find_files(path: str, source: str) -> list[str]:
    """The files of `path`, a file, a folder or a glob, sorted by name.

    Args:
        path: see `DataConfig.path`.
        source: "text", "jsonl", "csv", "tsv", "conll" or "segmented"; selects the files of a folder by extension.

    Raises:
        UserError: no file matches, or a folder has no file with an extension of the source.
    """
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        found = [
            name for name in glob.glob(os.path.join(path, "**", "*"), recursive=True) if os.path.isfile(name)
        ]
        files = sorted(name for name in found if has_ending(name, source))
        if not files:
            raise UserError(
                f"folder {path!r} has no file ending in {', '.join(ENDINGS[source])}, or these with .gz (of "
                f"{len(found)} files); give a glob such as {os.path.join(path, '*')!r} to read files with another "
                "ending"
            )
        return files
    files = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not files:
        raise UserError(f"no file matches {path!r}; give an existing file, folder or glob")
    return files


def find_in_folder(folder: str, name: str, field: str) -> str:
    """The file `name` or `name.gz` of a folder.

    Args:
        folder: the folder.
        name: the file name.
        field: name of the setting, for the message.

    Raises:
        UserError: the folder or the file is missing; the message lists the files of the folder.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder!r} is not a folder; {field} names the file {name!r} inside it")
    for ending in ("", ".gz", ".GZ"):
        file = os.path.join(folder, name + ending)
        if os.path.isfile(file):
            return file
    raise UserError(
        f"the folder {folder!r} has no file {name!r} (nor {name + '.gz'!r}), which {field} names; "
        f"its files are {list_files(folder)}"
    )


def list_files(folder: str) -> str:
    """The first file names of a folder, for a message."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    return ", ".join(names[:_NUM_LISTED] + ["..."] * (len(names) > _NUM_LISTED)) or "none"


def read_lines(file: str, encoding: str = "utf-8", newline: str | None = None) -> Iterator[str]:
    """Streams the lines of a text file, plain or `.gz`.

    A byte-order mark is removed, and that of UTF-16 or UTF-32 overrides the encoding UTF-8. Undecodable bytes and NULs
    become lone surrogates, so that one bad row does not stop the reader; see `find_bad_character`.

    Args:
        file: path.
        encoding: Python name of the encoding.
        newline: line terminator; None for "\\n", "\\r\\n" and "\\r", all read as "\\n".

    Raises:
        UserError: the file cannot be opened, its gzip stream is damaged, its byte-order mark or its NULs contradict
            `encoding`, or the decoder cannot recover, such as from truncated UTF-16. The message has file and line.
    """
    number = 0
    try:
        with open_unpacked(file) as content:
            found = detect_encoding(content.read(HEAD_BYTES), file, encoding, "data.encoding")
            content.seek(0)
            for line in io.TextIOWrapper(content, found, "surrogateescape", newline):
                number += 1
                line = line.replace("\0", "\udc00")
                yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeError as error:
        raise UserError(
            f"cannot read {file} after line {number}: not {encoding} ({error}); check data.encoding"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {file} after line {number}: {error}; check the file") from error


def find_bad_character(text: str) -> int:
    """Index of the first character that UTF-8 cannot encode (a lone surrogate), or -1.

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
