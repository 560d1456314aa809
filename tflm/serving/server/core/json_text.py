"""JSON with TensorFlow Serving's values and messages: first of duplicate keys, six or nine digits, offsets of errors.

Strings of a model may be any bytes. Those that are not UTF-8 are lone surrogates in a `str` ("surrogateescape"), in
both directions. That is the stock server's behaviour; `parse_utf8`, for the routes that are not the stock server's,
refuses such a body.
"""

import base64
import binascii
import codecs
import email.message
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.serving.server.core.status import invalid

_ERRORS = {
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character": "Invalid encoding in string.",
}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
_BASE64 = "b64"
_LONGEST_SHOWN = 4096
_SEND_UTF8 = (
    "Send the JSON as UTF-8. A Windows console sends its own code page: save the body as a UTF-8 file and send it with "
    "curl --data-binary @FILE."
)


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


def parse_utf8(body: bytes, content_type: str = "") -> dict[str, Any]:
    """`parse` for a body that has to be UTF-8 (RFC 8259, section 8.1). A byte-order mark of UTF-8 is ignored.

    >>> parse_utf8('{"text": "你好"}'.encode("gbk"))
    ServingError: ... The request's body is not UTF-8: byte 0xC4 at offset 10 ...

    Args:
        content_type: the header of that name. A charset other than UTF-8 is refused unless the body is ASCII.
    Raises:
        ServingError: INVALID_ARGUMENT, another encoding; or as `parse`.
    """
    _check_utf8(body, content_type)
    return parse(body)


def write(record: Any) -> bytes:
    """A record as JSON in one line.

    >>> write({"text": "你", "score": 1.0})
    b'{"text": "\xe4\xbd\xa0", "score": 1.0}'
    """
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape")


def error_body(message: str) -> bytes:
    """`{"error": message}`, the body of every failed request."""
    return write({"error": message})


def to_bytes(text: str) -> bytes:
    """A string of a parsed body as the bytes that came."""
    return text.encode("utf-8", "surrogateescape")


def to_text(value: bytes) -> str:
    """The inverse of `to_bytes`: a string of a model, for `write`."""
    return value.decode("utf-8", "surrogateescape")


def numbers(values: np.ndarray) -> list[float]:
    """Floats with the digits that the stock server writes: six if they give the number back, else nine.

    >>> numbers(np.float32([2, 0.1, 1 / 3]))
    [2.0, 0.1, 0.333333343]

    Args:
        values: `[N]`, of any floating type. Of float64 all digits are written.
    """
    floats = values.tolist()
    if values.dtype == np.float64:
        return floats
    short = np.array([f"{value:.6g}" for value in floats], str).astype(np.float64)
    same = short.astype(values.dtype) == values
    return [
        few if is_same else float(f"{value:.9g}")
        for few, is_same, value in zip(short.tolist(), same.tolist(), floats, strict=True)
    ]


def shown(value: Any) -> str:
    """A parsed value inside an error message, indented as the stock server does. A long one is cut.

    >>> shown("x"), shown(0.1), shown([])
    ('"x"', '0.1', '[]')
    """
    if isinstance(value, float) and not abs(value) > float(np.finfo(np.float32).max):
        (value,) = numbers(np.array([value], np.float32))
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...TRUNCATED"


def type_name(value: Any) -> str:
    """The stock server's name of the type of a parsed value: "Null", "True", "Number", ..."""
    if isinstance(value, bool):
        return str(value)
    return _TYPE_NAMES.get(type(value), "Number")


def is_base64(value: Any) -> bool:
    """Whether a parsed value is `{"b64": "..."}` and nothing else."""
    return isinstance(value, dict) and list(value) == [_BASE64] and isinstance(value[_BASE64], str)


def decode_base64(value: Mapping[str, str]) -> bytes:
    """`{"b64": "aGk="}` as b"hi"; padding may be left out.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    text = value[_BASE64].rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def encode_base64(value: bytes) -> dict[str, str]:
    """The inverse of `decode_base64`."""
    return {_BASE64: base64.b64encode(value).decode("ascii")}


def _check_utf8(body: bytes, content_type: str) -> None:
    wide = (
        json.detect_encoding(body) if body else "utf-8"
    )  # by its mark, or by the NULs of its first two characters
    if wide not in ("utf-8", "utf-8-sig"):
        raise invalid(f"The request's body is {wide.upper()}, from byte offset 0 on. {_SEND_UTF8}")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte 0x{body[error.start]:02X} at offset {error.start} ({error.reason})"
        raise invalid(f"The request's body is not UTF-8: {where}. {_SEND_UTF8}") from error
    charset = _charset_of(content_type)
    if charset not in ("utf-8", "ascii") and not body.isascii():
        raise invalid(f"Content-Type says charset={charset}, and the body is not ASCII. {_SEND_UTF8}")


def _charset_of(content_type: str) -> str:
    """Python's name of the charset of a Content-Type, or the given name; "utf-8" without one."""
    header = email.message.Message()
    header["Content-Type"] = content_type
    charset = header.get_content_charset() or "utf-8"
    try:
        return codecs.lookup(charset).name
    except (LookupError, ValueError):
        return charset


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
