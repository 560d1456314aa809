"""Reading and writing word vector files.

Formats to read: word2vec text and binary, fastText .vec (word2vec text) and GloVe text, plain or gzip. The format is
detected from the content; the file name does not matter.
"""

import codecs
import contextlib
import dataclasses
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Container, Iterable, Sequence
from typing import BinaryIO

import numpy as np
from absl import logging

from tflm.errors import UserError
from tflm.files.encodings import detect_encoding
from tflm.files.writing import whole_file

_FLOAT = np.dtype("<f4")
_GZIP = b"\x1f\x8b"
_LONGEST_LINE = 1 << 20
_FORMATS = (
    "word2vec's text or binary (a first line 'N D', then N words with D numbers each), or GloVe's text "
    "(lines of a word and D numbers)"
)


@dataclasses.dataclass(frozen=True)
class VectorTable:
    """Words and their vectors."""

    words: list[str]
    """N distinct words."""
    vectors: np.ndarray
    """float32 [N, D]."""
    num_skipped: int = 0
    """Number of skipped words, invalid UTF-8 or empty."""


def read_word_vectors(path: str | os.PathLike[str], wanted: Container[str] | None = None) -> VectorTable:
    """Reads word vectors in file order.

        3 2
        file 0.25 -1       ->  words ["file", "质量", "end"], vectors [[0.25, -1], [1, 0], [0.5, 2]]
        质量 1 0
        end 0.5 2

    The file is streamed, so only wanted vectors are in memory. The first occurrence of a duplicate word is kept.

    Args:
        path: word2vec text or binary, fastText .vec or GloVe text, plain or gzip.
        wanted: the words to keep, such as `vocabulary_words(tokenizer)`; None for all.
    Raises:
        UserError: the file is missing, is not a word vector file, is truncated, or has lines of different dimensions.
    """
    name, table = os.fspath(path), _Builder(wanted)
    try:
        with _opened(name) as file:
            width = _read(name, file, table)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the word vectors {name!r}: {reason}.") from error
    vectors = np.frombuffer(table.data, _FLOAT).astype(np.float32, copy=False).reshape(-1, width)
    words = list(table.words)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        word = words[int(np.argmin(finite))]
        raise UserError(f"{name}: the vector of {word!r} has a number that is not finite. Fix the file.")
    if table.num_skipped > table.num_seen / 2:
        raise UserError(
            f"{name!r}: {table.num_skipped:,} of {table.num_seen:,} words are not UTF-8. The file is in another "
            "encoding (Chinese is often gb18030): save it as UTF-8."
        )
    if table.num_skipped:
        logging.warning("%s: %d words are invalid UTF-8 or empty, and are skipped", name, table.num_skipped)
    return VectorTable(words, vectors, table.num_skipped)


def write_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], vectors: np.ndarray, binary: bool = False
) -> None:
    """Writes the word2vec format, which gensim, fastText and others read, atomically.

    Text files have nine significant digits, which is exact for float32. Paths ending in .gz are compressed.

    Args:
        path: file to write; its folder must exist.
        words: N distinct words without spaces.
        vectors: float32 [N, D].
        binary: bool, write the binary format.
    Raises:
        UserError: the numbers of words and vectors differ; a word is empty, duplicated or contains a space; or the file
            cannot be written.
    """
    name = os.fspath(path)
    vectors = np.asarray(vectors, _FLOAT)
    _check_table(words, vectors)
    pack = gzip.open if name.endswith(".gz") else open
    try:
        with whole_file(name) as aside, pack(aside, "wb") as file:
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
            for word, vector in zip(words, vectors, strict=True):
                numbers = (
                    vector.tobytes() if binary else " ".join(f"{x:.9g}" for x in vector.tolist()).encode()
                )
                file.write(word.encode() + b" " + numbers + b"\n")
    except OSError as error:
        raise UserError(f"cannot write the word vectors {name!r}: {error.strerror}.") from error


class _Builder:
    """Collects words, and their vectors as raw float32 bytes, which take less memory than lists."""

    def __init__(self, wanted: Container[str] | None) -> None:
        self.wanted = wanted
        self.words: dict[str, None] = {}
        self.data = bytearray()
        self.num_seen = self.num_skipped = 0

    def takes(self, word: bytes) -> bool:
        """Whether to keep the word; if so, the caller appends its vector."""
        self.num_seen += 1
        try:
            text = word.decode()
        except UnicodeDecodeError:
            text = ""
        if not text:
            self.num_skipped += 1
            return False
        if text in self.words or (self.wanted is not None and text not in self.wanted):
            return False
        self.words[text] = None
        return True


def _opened(name: str) -> contextlib.AbstractContextManager[io.BufferedReader]:
    with open(name, "rb") as file:
        packed = file.read(2) == _GZIP
    return io.BufferedReader(gzip.open(name)) if packed else open(name, "rb")


def _read(name: str, file: io.BufferedReader, table: _Builder) -> int:
    """Fills the table; returns D."""
    first = file.readline(_LONGEST_LINE)
    if (encoding := detect_encoding(first, repr(name))).startswith(("utf-16", "utf-32")):
        raise UserError(f"{name!r} is {encoding.upper()}; expected UTF-8. Save the file as UTF-8.")
    first = first.removeprefix(codecs.BOM_UTF8)
    header = re.fullmatch(rb"(\d+) (\d+)\s*", first)
    if not header:
        width = len(_stripped(first).split(b" ")) - 1
        if width < 1 or _as_numbers(_stripped(first).split(b" ")[1:]) is None:
            raise UserError(f"{name!r} is not a word vector file. Supported formats: {_FORMATS}.")
        _read_text(name, itertools.chain([first], file), 1, width, table)
        return width
    count, width = int(header[1]), int(header[2])
    if not count or not width:
        raise UserError(
            f"{name!r} holds no vectors: its first line says {count} words of {width} dimensions."
        )
    if _is_binary(file, width):
        _read_binary(name, file, count, width, table)
        return width
    num_lines = _read_text(name, file, 2, width, table)
    if num_lines != count:
        raise UserError(
            f"{name!r} has {num_lines} words; its first line says {count}. The file is truncated or was edited: "
            "download it again, or correct the number."
        )
    return width


def _is_binary(file: io.BufferedReader, width: int) -> bool:
    """Whether binary floats follow the first word: the bytes of floats are rarely valid text."""
    start = file.peek(1)
    fields = _stripped(start.partition(b"\n")[0]).split(b" ")[1:]
    if len(fields) == width and _as_numbers(fields) is not None:
        return False
    floats = start.partition(b" ")[2][: 4 * width]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(floats)
    except UnicodeDecodeError:
        return True
    return any(character < " " and character not in "\t\r\n" for character in text)


def _read_text(name: str, lines: Iterable[bytes], first: int, width: int, table: _Builder) -> int:
    """Reads lines of a word and `width` numbers, numbered from `first`; returns the number of words."""
    num_lines = 0
    for number, line in enumerate(lines, first):
        line = _stripped(line)
        if not line:
            continue
        num_lines += 1
        word, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != width - 1:
            word, *fields = line.rsplit(b" ", width)
            # A few words of GloVe contain spaces (". . ."); a word that ends in a number means a longer vector.
            if len(fields) < width or _as_numbers(word.split(b" ")[-1:]) is not None:
                have = max(line.count(b" "), 0)
                raise UserError(
                    f"{name}:{number}: expected {width} numbers, found {have}. Fix or remove the line."
                )
            numbers = b" ".join(fields)
        if table.takes(word):
            vector = _as_numbers(numbers.split(b" "))
            if vector is None:
                raise UserError(
                    f"{name}:{number}: the vector of {word.decode()!r} contains something that is not a number. Fix or "
                    "remove the line."
                )
            table.data += vector.tobytes()
    return num_lines


def _read_binary(name: str, file: BinaryIO, count: int, width: int, table: _Builder) -> None:
    """Reads binary vectors. word2vec.c writes a newline after each vector, gensim does not; a leading newline is not
    part of a word."""
    for index in range(count):
        word = bytearray()
        while (byte := file.read(1)) not in (b" ", b""):
            word += byte
        data = file.read(_FLOAT.itemsize * width)
        if len(data) < _FLOAT.itemsize * width:
            raise UserError(
                f"{name!r} is truncated: its first line says {count} words of {width} dimensions, and it ends in word "
                f"{index + 1}. Download it again."
            )
        if table.takes(bytes(word.removeprefix(b"\n"))):
            table.data += data


def _stripped(line: bytes) -> bytes:
    """Removes line ends and the trailing space of fastText. Other spaces, such as U+00A0, are words."""
    return line.rstrip(b" \t\r\n")


def _as_numbers(fields: Sequence[bytes]) -> np.ndarray | None:
    """float32 [D]; None if a field is not a number."""
    try:
        return np.array(fields, _FLOAT)
    except ValueError:
        return None


def _check_table(words: Sequence[str], vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise UserError(
            f"{len(words)} words need vectors of shape [{len(words)}, D]; got {list(vectors.shape)}."
        )
    for word in words:
        if word.split() != [word]:
            raise UserError(f"a word of a word2vec file must not be empty or contain spaces; got {word!r}.")
    if len(set(words)) < len(words):
        raise UserError(
            f"the words of a word2vec file must be distinct; got {len(words)} words, {len(set(words))} distinct."
        )
