"""Numbers and strings written so that they come back, and as the stock server writes them."""

import codecs
import json

import numpy as np
import pytest

from tflm.serving.server.core.json_text import (
    numbers,
    parse,
    parse_utf8,
    shown,
    to_bytes,
    to_text,
    write,
)
from tflm.serving.server.core.status import ServingError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_come_back(dtype):
    random = np.random.default_rng(3)
    bits = random.integers(0, 2 ** (8 * dtype().itemsize), 3000, np.uint64).astype(f"u{dtype().itemsize}")
    values = bits.view(dtype)
    values = values[np.isfinite(values)]
    read = np.array(json.loads(write(numbers(values))))
    np.testing.assert_array_equal(read.astype(dtype), values)


def test_the_digits_of_numbers():
    """Six where they are enough, nine where not; a whole float has its point."""
    found = write(numbers(np.float32([0, -0.0, 1, 0.1, 123456, 1234567, 1e-7, 1 / 3, np.nan, -np.inf])))
    assert found == b"[0.0, -0.0, 1.0, 0.1, 123456.0, 1234567.0, 1e-07, 0.333333343, NaN, -Infinity]"
    assert numbers(np.float64([0.1, 1 / 3])) == [0.1, 1 / 3]
    assert numbers(np.float32([])) == []


def test_strings_come_back():
    every = bytes(range(256)) + "你好😀\u2028".encode()
    assert to_bytes(json.loads(write(to_text(every)).decode("utf-8", "surrogateescape"))) == every


def test_bytes_are_written_as_they_are():
    assert (
        write({"text": to_text("你\n".encode() + b"\x01\xff")}) == b'{"text": "\xe4\xbd\xa0\\n\\u0001\xff"}'
    )


def test_values_inside_messages():
    assert [shown(value) for value in ("你", 0.1, 3.0, 1e39, None, True, [])] == [
        '"你"', "0.1", "3.0", "1e+39", "null", "true", "[]",
    ]  # fmt: skip


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc80", b"\\ud83d\\u0041"])
def test_half_of_a_pair_is_refused(escape):
    for body in (b'{"a": "%s"}', b'{"%s": 1}'):
        with pytest.raises(ServingError, match="The surrogate pair in string is invalid"):
            parse(body % escape)
    assert (
        parse(b'{"a": "\\ud83d\\ude00 \xff"}')["a"].encode("utf-8", "surrogateescape")
        == "😀 ".encode() + b"\xff"
    )


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ('{"text": "今天天气"}'.encode("gbk"), "", "not UTF-8: byte 0xBD at offset 10 (invalid start byte)"),
        ('{"text": "naïve"}'.encode("latin-1"), "", "not UTF-8: byte 0xEF at offset 12"),
        ('{"text": "你"}'.encode()[:-3], "", "not UTF-8: byte 0xE4 at offset 10 (unexpected end of data)"),
        (b'{"text": "\xed\xa0\x80"}', "", "not UTF-8: byte 0xED at offset 10"),
        ('{"text": "hello"}'.encode("utf-16-le"), "", "body is UTF-16-LE, from byte offset 0 on"),
        ('{"text": "你好"}'.encode("utf-16-be"), "", "body is UTF-16-BE, from byte offset 0 on"),
        ('{"text": "你好"}'.encode("utf-16"), "", "body is UTF-16, from byte offset 0 on"),
        (codecs.BOM_UTF16_BE + '{"a": 1}'.encode("utf-16-be"), "", "body is UTF-16, from byte offset 0 on"),
        ('{"text": "hello"}'.encode("utf-32"), "", "body is UTF-32, from byte offset 0 on"),
        (
            '{"text": "你好"}'.encode(),
            "application/json; charset=GBK",
            "charset=gbk, and the body is not ASCII",
        ),
        ('{"text": "é"}'.encode(), 'text/plain; Charset="iso-8859-1"', "charset=iso8859-1, and the body"),
        ('{"text": "é"}'.encode(), "application/json; charset=x-none", "charset=x-none, and the body"),
    ],
)
def test_another_encoding_is_refused(body, content_type, words):
    with pytest.raises(ServingError) as caught:
        parse_utf8(body, content_type)
    assert caught.value.code == "INVALID_ARGUMENT" and words in caught.value.message
    assert "Send the JSON as UTF-8." in caught.value.message


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "application/json; charset=UTF-8", "text/json;charset=utf8", "; charset", "é"],
)
def test_utf8_is_read(content_type):
    body = '{"text": "你好 naïve 😀"}'.encode()
    expected = {"text": "你好 naïve 😀"}
    assert parse_utf8(body, content_type) == parse_utf8(codecs.BOM_UTF8 + body, content_type) == expected


def test_a_body_of_ascii_is_the_same_in_every_charset():
    body = b'{"text": "\\u4f60 hi"}'
    assert parse_utf8(body, "application/json; charset=gbk") == {"text": "你 hi"}
    assert parse_utf8(b'{"a": 1}', "application/json; charset=ISO-8859-1") == {"a": 1}
