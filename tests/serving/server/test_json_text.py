"""Numbers and strings written so that they come back, and as the stock server writes them."""

import json

import numpy as np
import pytest

from tflm.serving.server.json_text import numbers, parse, pretty_list, pretty_object, shown, string
from tflm.serving.server.status import ServingError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_come_back(dtype):
    random = np.random.default_rng(3)
    bits = random.integers(0, 2 ** (8 * dtype().itemsize), 3000, np.uint64).astype(f"u{dtype().itemsize}")
    values = bits.view(dtype)
    values = values[np.isfinite(values)]
    texts = numbers(values)
    np.testing.assert_array_equal(np.array([float(text) for text in texts]).astype(dtype), values)
    assert all(b"." in text or b"e" in text for text in texts)


def test_the_form_of_numbers():
    found = numbers(np.float32([0, -0.0, 1, 0.1, 123456, 1234567, 1e-7, np.nan, -np.inf]))
    assert b" ".join(found) == b"0.0 -0.0 1.0 0.1 123456.0 1234567.0 1e-07 NaN -Infinity"
    assert numbers(np.float64([0.1, 1 / 3])) == [b"0.1", b"0.33333333333333331"]
    assert numbers(np.float32([])) == []


def test_strings_come_back():
    every = bytes(range(256)) + "你好😀\u2028".encode()
    assert (
        json.loads(string(every).decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        == every
    )


def test_pretty_text_is_what_json_dumps_gives():
    record = {"a": [1, 2], "b": {"c": "x"}}
    value = pretty_object({b"a": pretty_list([b"1", b"2"], 1), b"b": pretty_object({b"c": b'"x"'}, 1)})
    assert value.decode() == json.dumps(record, indent=4)
    assert (pretty_object({}), pretty_list([], 3)) == (b"{}", b"[]")


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
