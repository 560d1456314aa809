"""Files of word vectors, read and written.

Read: word2vec's text and binary formats, fastText's .vec (word2vec's text) and GloVe's text, plain or gzip. What a
file is, its content says; its name does not matter.
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
    """N different words."""
    vectors: np.ndarray
    """float32 [N, D]."""
    num_skipped: int = 0
    """Words of the file that were left out, because they are no UTF-8 or empty."""


def read_word_vectors(path: str | os.PathLike[str], wanted: Container[str] | None = None) -> VectorTable:
    """The vectors of a file, in its order.

        3 2
        file 0.25 -1       ->  words ["file", "质量", "end"], vectors [[0.25, -1], [1, 0], [0.5, 2]]
        质量 1 0
        end 0.5 2

    A line at a time is read, so memory holds only what is wanted. Of a word that comes twice the first stays.

    Args:
        path: word2vec text or binary, fastText .vec or GloVe text; each may be packed with gzip.
        wanted: the words to keep, such as a `vocabulary_words(tokenizer)`; None for all.
    Raises:
        UserError: no such file, not a file of word vectors, cut off, or a line with another number of dimensions.
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
        raise UserError(f"{name}: the vector of {word!r} has a number that is not finite. Mend the file.")
    if table.num_skipped:
        logging.warning("%s: %d words are no UTF-8 or empty, and left out", name, table.num_skipped)
    return VectorTable(words, vectors, table.num_skipped)


def write_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], vectors: np.ndarray, binary: bool = False
) -> None:
    """Writes word2vec's format, which gensim, fastText and others read; whole or not at all.

    The numbers have nine digits, so that float32 comes back exactly. A path that ends in .gz is packed.

    Args:
        path: where to; its folder exists.
        words: N different words without spaces in them.
        vectors: float32 [N, D].
        binary: four bytes for a number in place of digits.
    Raises:
        UserError: words and vectors are not equally many, a word is empty, has a space or comes twice; or the file
            cannot be written.
    """
    name = os.fspath(path)
    vectors = np.asarray(vectors, _FLOAT)
    _check_table(words, vectors)
    pack = gzip.open if name.endswith(".gz") else open
    try:
        with pack(f"{name}.tmp", "wb") as file:
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
            for word, vector in zip(words, vectors, strict=True):
                numbers = (
                    vector.tobytes() if binary else " ".join(f"{x:.9g}" for x in vector.tolist()).encode()
                )
                file.write(word.encode() + b" " + numbers + b"\n")
        os.replace(f"{name}.tmp", name)
    except OSError as error:
        raise UserError(f"cannot write the word vectors {name!r}: {error.strerror}.") from error


class _Builder:
    """The words that are kept so far, and their numbers as bytes: 4 for each, where a list has 100 for a row."""

    def __init__(self, wanted: Container[str] | None) -> None:
        self.wanted = wanted
        self.words: dict[str, None] = {}
        self.data = bytearray()
        self.num_skipped = 0

    def takes(self, word: bytes) -> bool:
        """Whether the word is to be kept; then its vector has to follow."""
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
    header = re.fullmatch(rb"(\d+) (\d+)\s*", first)
    if not header:
        width = len(_stripped(first).split(b" ")) - 1
        if width < 1 or _as_numbers(_stripped(first).split(b" ")[1:]) is None:
            raise UserError(f"{name!r} is not a file of word vectors. Known are {_FORMATS}.")
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
            f"{name!r} says in its first line that it has {count} words; it has {num_lines}. It was cut off, or "
            "changed by hand: fetch it again, or correct the number."
        )
    return width


def _is_binary(file: io.BufferedReader, width: int) -> bool:
    """Whether floats follow the first word, not digits: four bytes of a float are hardly ever text."""
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
    """Lines of a word and `width` numbers; returns how many they are. `first` is the number of the first line."""
    num_lines = 0
    for number, line in enumerate(lines, first):
        line = _stripped(line)
        if not line:
            continue
        num_lines += 1
        word, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != width - 1:
            word, *fields = line.rsplit(b" ", width)
            # A few words of GloVe's have spaces in them (". . ."), but one that ends in a number is a longer vector.
            if len(fields) < width or _as_numbers(word.split(b" ")[-1:]) is not None:
                have = max(line.count(b" "), 0)
                raise UserError(
                    f"{name}:{number}: {have} numbers in place of {width}. Mend or remove the line."
                )
            numbers = b" ".join(fields)
        if table.takes(word):
            vector = _as_numbers(numbers.split(b" "))
            if vector is None:
                raise UserError(
                    f"{name}:{number}: after the word {word.decode()!r} stands something that is no number. Mend or "
                    "remove the line."
                )
            table.data += vector.tobytes()
    return num_lines


def _read_binary(name: str, file: BinaryIO, count: int, width: int, table: _Builder) -> None:
    """word2vec.c ends each vector with a new line and gensim does not; so one before a word is not part of it."""
    for index in range(count):
        word = bytearray()
        while (byte := file.read(1)) not in (b" ", b""):
            word += byte
        data = file.read(_FLOAT.itemsize * width)
        if len(data) < _FLOAT.itemsize * width:
            raise UserError(
                f"{name!r} is cut off: its first line says {count} words of {width} dimensions, and it ends in word "
                f"{index + 1}. Fetch it again."
            )
        if table.takes(bytes(word.removeprefix(b"\n"))):
            table.data += data


def _stripped(line: bytes) -> bytes:
    """Without what ends a line; fastText leaves a space there. Other spaces, such as U+00A0, are words."""
    return line.rstrip(b" \t\r\n")


def _as_numbers(fields: Sequence[bytes]) -> np.ndarray | None:
    """float32 [D]; None if one is no number."""
    try:
        return np.array(fields, _FLOAT)
    except ValueError:
        return None


def _check_table(words: Sequence[str], vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise UserError(
            f"{len(words)} words go with vectors of the shape [{len(words)}, D]; got {list(vectors.shape)}."
        )
    for word in words:
        if word.split() != [word]:
            raise UserError(f"a word of a word2vec file is not empty and has no space in it; got {word!r}.")
    if len(set(words)) < len(words):
        raise UserError(
            f"the words of a word2vec file are all different; got {len(set(words))} of {len(words)}."
        )
