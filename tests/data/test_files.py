import gzip
import os

import pytest

from tflm.data.files import find_bad_character, find_files, read_lines
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
    with pytest.raises(UserError, match=r"no file ending in \.jsonl.*\(of 1 files\); give a glob such as"):
        find_files(str(tmp_path), "jsonl")


@pytest.mark.parametrize("name", ["poem.txt", "poem.txt.gz"])
def test_chinese_with_byte_order_mark_and_windows_line_ends(write, name):
    file = write(name, b"\xef\xbb\xbf" + "床前明月光，\r\n疑是地上霜。".encode())
    assert list(read_lines(file)) == ["床前明月光，\n", "疑是地上霜。"]


def test_a_byte_that_is_not_utf8_marks_its_line_alone(write):
    lines = list(read_lines(write("a.txt", b"good\nb\xffd\n\xe4\xb8\xad\n")))
    assert [find_bad_character(line) for line in lines] == [-1, 1, -1]
    assert lines[2] == "中\n"


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
