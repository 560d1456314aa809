"""Word vectors: files written byte by byte are read right, what is written comes back, what is broken is named."""

import gzip
import struct

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.text.word_vectors import read_word_vectors, write_word_vectors

WORDS = ["file", "质量", "café"]
VECTORS = np.array([[0.25, -1.0], [1.0, 0.0], [0.5, 2e-3]], np.float32)
LINES = "file 0.25 -1\n质量 1 0\ncafé 0.5 2e-3\n"


def binary(end, words=WORDS):
    """word2vec.c writes a new line after each vector, gensim nothing."""
    rows = [word.encode() + b" " + struct.pack("<2f", *row) + end for word, row in zip(words, VECTORS)]
    return b"3 2\n" + b"".join(rows)


FILES = {
    "word2vec text": b"3 2\n" + LINES.encode(),
    "fastText, a space at the end of a line": b"3 2\n" + LINES.replace("\n", " \n").encode(),
    "Windows line ends": b"3 2\r\n" + LINES.replace("\n", "\r\n").encode(),
    "no new line at the end": b"3 2\n" + LINES.rstrip().encode(),
    "GloVe": LINES.encode(),
    "word2vec.c binary": binary(b"\n"),
    "gensim binary": binary(b""),
}


@pytest.fixture
def write(tmp_path):
    """write(bytes) -> path of a file with them."""

    def write_file(content, name="vectors"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write_file


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", list(FILES))
def test_a_file_is_known_by_its_content(write, kind, packed):
    table = read_word_vectors(write(gzip.compress(FILES[kind]) if packed else FILES[kind]))
    assert table.words == WORDS
    np.testing.assert_array_equal(table.vectors, VECTORS)
    assert table.vectors.dtype == np.float32 and table.num_skipped == 0


@pytest.mark.parametrize("kind", ["word2vec text", "GloVe", "gensim binary"])
def test_only_what_is_wanted_is_kept(write, kind):
    table = read_word_vectors(write(FILES[kind]), wanted={"café", "file", "other"})
    assert table.words == ["file", "café"]
    np.testing.assert_array_equal(table.vectors, VECTORS[[0, 2]])
    none = read_word_vectors(write(FILES[kind]), wanted=set())
    assert none.words == [] and none.vectors.shape == (0, 2)


@pytest.mark.parametrize("binary_format", [False, True])
@pytest.mark.parametrize("name", ["out.vec", "out.vec.gz"])
def test_what_is_written_comes_back_exactly(tmp_path, binary_format, name):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(300, 7)) * 10.0 ** rng.integers(-20, 20, (300, 7))).astype(np.float32)
    words = [f"{index}词" for index in range(300)]
    path = tmp_path / name
    write_word_vectors(path, words, vectors, binary=binary_format)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    table = read_word_vectors(path)
    assert table.words == words
    np.testing.assert_array_equal(table.vectors, vectors)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_written_bytes(tmp_path):
    write_word_vectors(tmp_path / "a", WORDS, VECTORS)
    expected = "3 2\nfile 0.25 -1\n质量 1 0\ncafé 0.5 0.00200000009\n"
    assert (tmp_path / "a").read_bytes().decode() == expected
    write_word_vectors(tmp_path / "b", WORDS, VECTORS, binary=True)
    assert (tmp_path / "b").read_bytes() == binary(b"\n")


def test_the_first_of_two_stays(write):
    table = read_word_vectors(write(b"a 1 2\nb 3 4\na 5 6\n"))
    assert table.words == ["a", "b"] and table.vectors.tolist() == [[1, 2], [3, 4]]


def test_words_that_are_no_utf8_are_counted(write):
    for content in (
        b"4 2\na 1 2\n\xff 3 4\n\xe4\xb8 5 6\nb 7 8\n",
        b"a 1 2\n\xff 3 4\n\xe4\xb8 5 6\nb 7 8\n",
    ):
        table = read_word_vectors(write(content))
        assert table.words == ["a", "b"] and table.num_skipped == 2
        assert table.vectors.tolist() == [[1, 2], [7, 8]]
    with pytest.raises(UserError, match=r"2 of 3 words are not UTF-8.*gb18030"):
        read_word_vectors(write("a 1 2\n质量 3 4\n文件 5 6\n".encode("gb18030")))
    raw = b"2 2\n\xff " + struct.pack("<2f", 1, 2) + b"b " + struct.pack("<2f", 3, 4)
    table = read_word_vectors(write(raw))
    assert (table.words, table.num_skipped, table.vectors.tolist()) == (["b"], 1, [[3, 4]])


def test_a_float_may_hold_the_bytes_of_a_space_or_a_new_line(write):
    numbers = b" \n \n\n\n\n\n"
    content = b"2 2\na " + numbers + b"\nb " + numbers + b"\n"
    # All of it is text too, if a strange one: so a float that is not stands before.
    content = content.replace(b"2 2\n", b"3 2\nx " + struct.pack("<2f", 1.0, -1.0) + b"\n")
    table = read_word_vectors(write(content))
    assert table.words == ["x", "a", "b"]
    assert table.vectors[1].tobytes() == table.vectors[2].tobytes() == numbers


def test_gloves_words_with_spaces_in_them(write):
    table = read_word_vectors(write("a 1 2\n. . . 3 4\n质 量 5 6\n".encode()))
    assert table.words == ["a", ". . .", "质 量"]
    assert table.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "content,message",
    [
        (b"2 3\na 1 2 3\nb 1 2\n", r"vectors:3: expected 3 numbers, found 2\. Fix or remove the line"),
        (b"a 1 2 3\nb 1 2 3 4\n", r"vectors:2: expected 3 numbers, found 4"),
        (b"a 1 2 3\n\nb\n", r"vectors:3: expected 3 numbers, found 0"),
        (b"a 1 2\nb 1 x\n", r"vectors:2: the vector of 'b' contains something that is not a number"),
        (b"Once upon a time\n", "is not a word vector file. Supported formats: word2vec's text or binary"),
        (b"word\n", "is not a word vector file"),
        (b"", "is not a word vector file"),
        (b"\x80\x02\x8a\nl\xfc", "is not a word vector file"),
        (b"0 5\n", "holds no vectors: its first line says 0 words of 5 dimensions"),
        (b"3 2\na 1 2\nb 3 4\n", r"has 2 words; its first line says 3\. The file is truncated"),
        (b"1 2\na 1 2\nb 3 4\n", "has 2 words; its first line says 1"),
        (
            binary(b"\n")[:-4],
            r"is truncated: its first line says 3 words of 2 dimensions, and it ends in word 3",
        ),
        (binary(b"")[:17], "and it ends in word 2"),
        (
            gzip.compress(b"a 1 2\n" * 99, mtime=0)[:-12],
            "cannot read the word vectors .*end-of-stream marker",
        ),
        (b"a 1 2\nb nan 2\n", "the vector of 'b' has a number that is not finite"),
    ],
)
def test_what_is_broken_is_named(write, content, message):
    with pytest.raises(UserError, match=message):
        read_word_vectors(write(content))


@pytest.mark.parametrize("text", [LINES, "3 2\n" + LINES, "质量 1 0\n"])
def test_utf16_is_refused_by_name(write, text):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        with pytest.raises(
            UserError, match=rf"vectors' (is|looks like) {encoding.upper()}.*[Ss]ave .* UTF-8"
        ):
            read_word_vectors(write(text.encode(encoding)))


@pytest.mark.parametrize("text", [LINES, "3 2\n" + LINES])
def test_a_byte_order_mark_is_no_part_of_the_first_word(write, text):
    assert read_word_vectors(write(text.encode("utf-8-sig"))).words == WORDS


def test_no_such_file():
    with pytest.raises(UserError, match=r"cannot read the word vectors '/nowhere/a\.vec': No such file"):
        read_word_vectors("/nowhere/a.vec")
    with pytest.raises(UserError, match=r"cannot write the word vectors '/nowhere/a\.vec': No such file"):
        write_word_vectors("/nowhere/a.vec", WORDS, VECTORS)


@pytest.mark.parametrize(
    "words,message",
    [
        (["a", "b"], r"2 words need vectors of shape \[2, D\]; got \[3, 2\]"),
        (["a", "b c", "d"], "must not be empty or contain spaces; got 'b c'"),
        (["a", "", "d"], "got ''"),
        (["a", "b", "a"], "must be distinct; got 3 words, 2 distinct"),
    ],
)
def test_what_cannot_be_written(tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        write_word_vectors(tmp_path / "a", words, VECTORS)
    assert not list(tmp_path.iterdir())
