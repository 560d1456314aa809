"""Messages that are declared where they are read."""

import pytest

from tflm.errors import UserError
from tflm.serving.server.text_proto import read_text_proto

MESSAGES = {"Page": {"number": "int64"}, "Book": {"title": "string", "pages": "Page[]", "sold": "bool"}}


@pytest.fixture
def read(tmp_path):
    def from_bytes(content, name="Book"):
        path = tmp_path / "book.txt"
        path.write_bytes(content)
        return read_text_proto(str(path), "book_file", MESSAGES, name, 'title: "A"')

    return from_bytes


def test_fields_of_every_kind(read):
    book = read('title: "三体" pages { number: 3 } pages { number: -4 } sold: true'.encode())
    assert (book.title, [page.number for page in book.pages], book.sold) == ("三体", [3, -4], True)
    assert read(b"number: 9", "Page").number == 9


def test_what_is_wrong_is_said(read):
    with pytest.raises(
        UserError, match=r"--book_file=.*: line 2:.*Serving's Book, such as: title: \"A\" It may have"
    ):
        read(b'title: "a"\nauthor: "b"')
    with pytest.raises(UserError, match=r"--book_file=.*: cannot be read"):
        read(b"title: '\xff'")
