"""Recognising UTF-16 and UTF-32 by byte-order mark and by NULs."""

import pytest

from tflm.errors import UserError
from tflm.files.encodings import decode_lines, decode_text, detect_encoding, read_text

_TEXTS = ("hello world\nsecond line", "你好,世界 12\n再见", "שלום 1\n")


@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_decides(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert detect_encoding(data, "f") == encoding
    assert data.decode(detect_encoding(data, "f")) == text


@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_nuls_without_a_mark_are_refused_with_the_setting(text: str, encoding: str) -> None:
    with pytest.raises(UserError, match=f"a.txt looks like {encoding.upper()}.*set data.encoding={encoding}"):
        detect_encoding(text.encode(encoding), "a.txt", setting="data.encoding")
    with pytest.raises(UserError, match="mark; save the file as UTF-8"):
        detect_encoding(text.encode(encoding), "a.txt")
    assert detect_encoding(text.encode(encoding), "a.txt", encoding) == encoding


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le"])
@pytest.mark.parametrize(
    "text", ["an ASCII line that would be Chinese\n" * 200, "中文也可以是别的字。\n" * 200]
)
def test_utf8_that_would_be_read_as_wide_characters_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(
        UserError, match=f"a.txt looks like UTF-8, not {encoding}; leave data.encoding at utf-8"
    ):
        detect_encoding(text.encode(), "a.txt", encoding, "data.encoding")
    assert detect_encoding(text.encode(encoding), "a.txt", encoding) == encoding
    chinese = ("文" * 40 + "字").encode("utf-16-le")
    assert detect_encoding(chinese, "a.txt", "utf-16-le") == "utf-16-le"


def test_a_binary_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"a\.png is not a text file"):
        detect_encoding(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.png")


def test_a_mark_that_contradicts_the_setting_is_refused() -> None:
    with pytest.raises(UserError, match=r"mark of UTF-16, not gb18030; set data\.encoding=utf-16"):
        detect_encoding("你好".encode("utf-16"), "a.txt", "gb18030", "data.encoding")
    assert detect_encoding("你好".encode("gb18030"), "a.txt", "gb18030") == "gb18030"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_lines_come_back_as_utf8(encoding: str) -> None:
    text = "first\r\n第二行\nlast"
    lines, found = decode_lines(text.encode(encoding).splitlines(keepends=True), "f")
    assert found == "utf-8"
    assert b"".join(lines).decode("utf-8") == text


def test_a_cut_off_utf16_stream_is_refused() -> None:
    with pytest.raises(UserError, match="f is damaged UTF-16"):
        decode_lines(["ab\n".encode("utf-16")[:-1]], "f")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_whole_file_is_decoded(tmp_path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("one\r\n第二行\rthree".encode(encoding))
    assert read_text(str(tmp_path / "a.txt")) == "one\n第二行\nthree"
    assert decode_text("one\r\n第二行".encode(encoding), "a") == "one\r\n第二行"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("你好".encode("gb18030"), "a.txt is not UTF-8: .* at byte 0; save the file as UTF-8"),
        ("你好".encode("utf-16")[:-1], "a.txt is not UTF-16: truncated data at byte 4"),
        ("hello".encode("utf-16-be"), "a.txt looks like UTF-16-BE"),
        (b"long\n" * 2000 + b"\0", "a.txt is not a text file: line 2001 holds a NUL"),
    ],
)
def test_a_file_that_is_no_text_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        decode_text(data, "a.txt")
