"""What a file holds by its name: endings in any case, packed or not."""

import gzip

import pytest

from tflm.files.formats import ending_of, has_ending, open_unpacked, source_of


@pytest.mark.parametrize("packed", ["", ".gz", ".GZ", ".Gz"])
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("q.csv", "csv"),
        ("Q.CSV", "csv"),
        ("q.Tsv", "tsv"),
        ("q.JSONL", "jsonl"),
        ("q.ndjson", "jsonl"),
        ("问题.NDJSON", "jsonl"),
        ("q.txt", "text"),
        ("a.csv/notes", "text"),
        ("csv", "text"),
        ("-", "text"),
    ],
)
def test_endings_in_any_case(name: str, packed: str, source: str) -> None:
    assert source_of(name + packed) == source


def test_endings_of_other_sources() -> None:
    assert has_ending("train.BIO.gz", "conll")
    assert not has_ending("train.bio.bz2", "conll")
    assert ending_of("SQuAD.JSON.GZ") == ".json"


@pytest.mark.parametrize("name", ["a.txt.gz", "a.TXT.GZ", "a.txt"])
def test_packed_content_is_unpacked_under_any_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress("你好\n".encode()))
    with open_unpacked(str(path)) as file:
        assert file.read().decode() == "你好\n"


def test_a_plain_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain\r\n")
    with open_unpacked(str(path)) as file:
        assert file.read() == b"plain\r\n"
