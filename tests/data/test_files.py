import gzip
import os

import pytest

from tflm.data.files import find_bad_character, find_files, find_in_folder, list_files, read_lines
from tflm.errors import UserError


def test_a_file_a_folder_and_a_glob(write, tmp_path):
    names = ["b.txt", "a.txt.gz", "deep/c.TXT", "notes.md", "table.csv"]
    paths = {name: write(name, "x\n") for name in names}
    assert find_files(paths["notes.md"], "text") == [paths["notes.md"]]
    assert find_files(str(tmp_path), "text") == [paths["a.txt.gz"], paths["b.txt"], paths["deep/c.TXT"]]
    assert find_files(str(tmp_path), "csv") == [paths["table.csv"]]
    assert find_files(str(tmp_path / "*.md"), "text") == [paths["notes.md"]]
    assert find_files(str(tmp_path / "**/*.txt"), "text") == [paths["b.txt"]]


def test_nothing_found(write, tmp_path):
    with pytest.raises(UserError, match=r"no file matches '.*missing.txt'; give an existing"):
        find_files(str(tmp_path / "missing.txt"), "text")
    write("a.md", "x")
    with pytest.raises(
        UserError,
        match=r"no file ending in \.jsonl, \.ndjson, or these with \.gz \(of 1 files\); give a glob such as",
    ):
        find_files(str(tmp_path), "jsonl")


@pytest.mark.parametrize("name", ["poem.txt", "poem.txt.gz"])
def test_chinese_with_byte_order_mark_and_windows_line_ends(write, name):
    file = write(name, b"\xef\xbb\xbf" + "床前明月光，\r\n疑是地上霜。".encode())
    assert list(read_lines(file)) == ["床前明月光，\n", "疑是地上霜。"]


def test_a_byte_that_is_not_utf8_marks_its_line_alone(write):
    lines = list(read_lines(write("a.txt", b"good\nb\xffd\n\xe4\xb8\xad\n")))
    assert [find_bad_character(line) for line in lines] == [-1, 1, -1]
    assert lines[2] == "中\n"


def test_a_file_inside_a_folder(write, tmp_path):
    both, packed = write("a.txt", "x"), write("b.txt.gz", "y")
    os.rename(write("upper.gz", "y"), tmp_path / "c.csv.GZ")
    assert find_in_folder(str(tmp_path), "c.csv", "train_file") == str(tmp_path / "c.csv.GZ")
    os.remove(tmp_path / "c.csv.GZ")
    write("a.txt.gz", "z")
    assert find_in_folder(str(tmp_path), "a.txt", "train_file") == both  # the name as it is comes first
    assert find_in_folder(str(tmp_path), "b.txt", "train_file") == packed
    with pytest.raises(
        UserError, match=r"which test_file names; its files are a\.txt, a\.txt\.gz, b\.txt\.gz$"
    ):
        find_in_folder(str(tmp_path), "c.txt", "test_file")
    (tmp_path / "many").mkdir()
    assert list_files(str(tmp_path / "many")) == "none"
    for number in range(20):
        write(f"many/{number:02}", "")
    assert list_files(str(tmp_path / "many")) == ", ".join(f"{n:02}" for n in range(12)) + ", ..."


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-32", "utf8", "big5"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_encodings(write, encoding, mark):
    mark = "" if encoding == "big5" else mark
    file = write("a.txt", (mark + "床前明月光\r\n疑是地上霜").encode(encoding))
    assert list(read_lines(file, encoding)) == ["床前明月光\n", "疑是地上霜"]


def test_a_byte_that_does_not_belong_to_the_encoding_marks_its_line_alone(write):
    content = "好\n".encode("gb18030")
    lines = list(read_lines(write("a.txt", content + b"b\xff d\n" + content), "gb18030"))
    assert [find_bad_character(line) for line in lines] == [-1, 1, -1]
    assert lines[2] == "好\n"
    with pytest.raises(
        UserError, match=r"cannot read .*b\.txt after line 0: not utf-16 .*check data.encoding"
    ):
        list(read_lines(write("b.txt", b"plain\n"), "utf-16"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("text", ["Numbers\r\nand letters", "数字\r\n和字母 12"])
def test_a_mark_decides_the_encoding(write, encoding, name, text):
    assert list(read_lines(write(name, text.encode(encoding)))) == text.replace("\r", "").splitlines(True)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("text", ["Numbers\nand letters\n", "数字\n和字母 12\n"])
def test_wide_characters_without_a_mark_are_refused_with_the_setting(write, encoding, name, text):
    file = write(name, text.encode(encoding))
    with pytest.raises(
        UserError, match=rf"a\.txt\S* looks like {encoding.upper()}.*set data\.encoding={encoding}"
    ):
        list(read_lines(file))
    assert list(read_lines(file, encoding)) == text.splitlines(True)


def test_another_mark_than_the_setting_and_binary_files_are_refused(write):
    file = write("a.txt", "好".encode("utf-16"))
    with pytest.raises(UserError, match=r"mark of UTF-16, not gb18030; set data\.encoding=utf-16"):
        list(read_lines(file, "gb18030"))
    with pytest.raises(UserError, match=r"b\.txt is not a text file"):
        list(read_lines(write("b.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")))


def test_a_nul_after_the_first_bytes_marks_its_line_alone(write):
    joined = "好，一行\n".encode() * 1000 + "two\n".encode("utf-16-le") + "三\n".encode()
    bad = [
        number
        for number, line in enumerate(read_lines(write("a.txt", joined)))
        if find_bad_character(line) >= 0
    ]
    assert bad == [1000, 1001]  # the NUL of the line end is in the next line


@pytest.mark.parametrize("name", ["a.TXT.GZ", "a.txt"])
def test_packed_under_any_name(write, tmp_path, name):
    os.rename(write("b.gz", "你好\nhello"), tmp_path / name)
    assert list(read_lines(str(tmp_path / name))) == ["你好\n", "hello"]
    assert find_files(str(tmp_path), "text") == [str(tmp_path / name)]


def test_unreadable_files(write, tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*absent\.txt after line 0.*No such file"):
        list(read_lines(str(tmp_path / "absent.txt")))
    with pytest.raises(UserError, match=r"cannot read .*fake\.gz after line 0: Not a gzipped file"):
        os.rename(write("plain", "no gzip"), tmp_path / "fake.gz")
        list(read_lines(str(tmp_path / "fake.gz")))
    packed = gzip.compress(os.urandom(50_000).hex().encode())
    (tmp_path / "torn.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"cannot read .*torn\.gz.*Compressed file ended"):
        list(read_lines(str(tmp_path / "torn.gz")))
