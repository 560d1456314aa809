"""JSON as TensorFlow Serving writes and reads it (RapidJSON's pretty writer and parser), down to spaces and messages.

Text is handled as bytes on the way out: strings of a model are written as they are, UTF-8 or not. On the way in, bytes
that are not UTF-8 become lone surrogates ("surrogateescape"), and `to_bytes` turns them back.
"""

import json
import re
from typing import Any

import numpy as np

from tflm.serving.server.status import invalid

_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')
_SHORT_ESCAPES = {
    b'"': b'\\"', b"\\": b"\\\\", b"\b": b"\\b", b"\f": b"\\f", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t",
}  # fmt: skip
_ERRORS = {
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character": "Invalid encoding in string.",
}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPECIAL = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}
_INDENT = b"    "
_LONGEST_SHOWN = 4096


def parse(body: bytes) -> dict[str, Any]:
    """The object that a request's body begins with; what follows it is ignored, as the stock server does.

    Raises:
        ServingError: no JSON, or no object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    text = body.decode("utf-8-sig", "surrogateescape")
    start = len(text) - len(text.lstrip(" \t\n\r"))
    if start == len(text):
        raise invalid(f"JSON Parse error: The document is empty. at offset: {len(body)}")
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise invalid(f"JSON Parse error: {_reason(text, error)} at offset: {offset}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: Nested too deep.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise invalid("JSON Parse error: Number too big to be stored in double.") from error
    if _SURROGATE.search(text):
        _check_surrogates(value, body)
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def to_bytes(text: str) -> bytes:
    """A string of a parsed body as the bytes that came."""
    return text.encode("utf-8", "surrogateescape")


def shown(value: Any) -> str:
    """A parsed value inside an error message. A long one is cut, where the stock server repeats all of it.

    >>> shown("x"), shown(0.1), shown([])
    ('"x"', '0.1', '[]')
    """
    if isinstance(value, float):
        is_float = not abs(value) > float(np.finfo(np.float32).max)
        return numbers(np.array([value], np.float32 if is_float else np.float64))[0].decode()
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...TRUNCATED"


def numbers(values: np.ndarray) -> list[bytes]:
    """Floats as the stock server writes them: six digits if they give it back, else all; ".0" behind whole numbers.

    >>> numbers(np.float32([2, 1 / 3, 9e6, np.inf]))
    [b'2.0', b'0.333333343', b'9e+06', b'Infinity']

    Args:
        values: `[N]`, of any floating type.
    """
    exact = "%.17g" if values.dtype == np.float64 else "%.9g"
    texts = [f"{value:.6g}" for value in values.tolist()]
    read_back = np.array(texts, str).astype(values.dtype)
    texts = [
        text if same else exact % value
        for text, same, value in zip(texts, read_back == values, values.tolist(), strict=True)
    ]
    return [
        _SPECIAL.get(text) or (text if "." in text or "e" in text else text + ".0").encode("ascii")
        for text in texts
    ]


def string(value: bytes) -> bytes:
    """A string in quotes; every byte from 0x20 on as it is.

    >>> string("你\\n".encode() + b"\\x01\\xff")
    b'"\\xe4\\xbd\\xa0\\\\n\\\\u0001\\xff"'
    """
    return b'"' + _ESCAPED.sub(_escape, value) + b'"'


def pretty_object(members: dict[bytes, bytes], level: int = 0) -> bytes:
    """An object over several lines; its values are written already.

    >>> pretty_object({b"error": string(b"x")})
    b'{\\n    "error": "x"\\n}'
    """
    inside = b"\n" + _INDENT * (level + 1)
    rows = [inside + string(name) + b": " + value for name, value in members.items()]
    return b"{" + b",".join(rows) + b"\n" + _INDENT * level + b"}" if rows else b"{}"


def pretty_list(values: list[bytes], level: int) -> bytes:
    """A list with a line for each value."""
    inside = b"\n" + _INDENT * (level + 1)
    return (
        b"[" + b",".join(inside + value for value in values) + b"\n" + _INDENT * level + b"]"
        if values
        else b"[]"
    )


def error_body(message: str) -> bytes:
    """`{"error": message}`, the body of every answer that is none."""
    return pretty_object({b"error": string(message.encode("utf-8", "surrogateescape"))})


def _check_surrogates(value: Any, body: bytes) -> None:
    """Refuses half of a surrogate pair that was written as an escape."""
    try:
        body.decode("utf-8")
        errors = "strict"
    except UnicodeDecodeError:
        errors = "surrogateescape"
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8", errors)
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of members with the same name, the first counts."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else dict(reversed(pairs))


def _escape(match: re.Match[bytes]) -> bytes:
    found = match.group()
    return _SHORT_ESCAPES.get(found) or b"\\u%04X" % found[0]


def _reason(text: str, error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting ',' delimiter"):
        return (
            "Missing a comma or ] after an array element."
            if _in_list(text[: error.pos])
            else "Missing a comma or } after an object member."
        )
    reasons = [reason for start, reason in _ERRORS.items() if error.msg.startswith(start)]
    return reasons[0] if reasons else "Invalid value."


def _in_list(text: str) -> bool:
    """Whether text that breaks off after a value is inside a list rather than an object."""
    open_brackets = []
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(\\.|[^"\\])*"', "", text)):
        if bracket in "[{":
            open_brackets.append(bracket)
        elif open_brackets:
            open_brackets.pop()
    return bool(open_brackets) and open_brackets[-1] == "["


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
