"""Detection of UTF-8, UTF-16 and UTF-32 by byte-order mark or by the pattern of NUL bytes.

ASCII text in UTF-16 without a byte-order mark is valid UTF-8, with a NUL after each letter, and would be read without
an error. So every reader of a user's file inspects the first bytes.
"""

import codecs
import itertools
from collections.abc import Iterable, Iterator

from tflm.errors import UserError

HEAD_BYTES = 4096
"""Number of bytes that `detect_encoding` inspects."""
_MARKS = (  # UTF-32 first: its little-endian mark starts with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURE_BYTES = 64
_NUL_SHARE = 0.3  # of one byte position; Chinese UTF-16 has NULs in spaces, digits and line ends only


def detect_encoding(head: bytes, name: str, encoding: str = "utf-8", setting: str = "") -> str:
    """Detects the encoding of a file from its first bytes.

    >>> detect_encoding("你好".encode("utf-16"), "notes.txt")
    'utf-16'
    >>> detect_encoding(b"hello", "notes.txt")
    'utf-8'

    Args:
        head: the first bytes of the file, decompressed; at most HEAD_BYTES are inspected.
        name: name of the file, for the message.
        encoding: the configured encoding. A byte-order mark overrides "utf-8".
        setting: the setting for another encoding, such as "data.encoding"; "" if only UTF-8 is supported.

    Returns:
        A Python encoding that removes the byte-order mark, if any.

    Raises:
        UserError: the byte-order mark contradicts `encoding`; or NUL bytes show that the file is UTF-16 or UTF-32
            without a mark, or binary.
    """
    head = head[:HEAD_BYTES]
    declared = codecs.lookup(encoding).name
    for mark, marked in _MARKS:
        if head.startswith(mark):
            if declared in ("utf-8", "utf-8-sig") or declared.startswith(marked[:6].rstrip("-")):
                return marked
            change = f"; set {setting}={marked}" if setting else ""
            raise UserError(f"{name} has the byte-order mark of {marked.upper()}, not {encoding}{change}")
    if declared.startswith(("utf-16", "utf-32")):
        if _is_utf8(head):
            change = f"leave {setting} at utf-8" if setting else "read it as UTF-8"
            raise UserError(f"{name} looks like UTF-8, not {encoding}; {change}")
        return encoding
    if b"\0" not in head:
        return encoding
    found = _wide_encoding(head)
    if not found:
        raise UserError(f"{name} is not a text file: it holds NUL bytes; give a text file in UTF-8")
    change = f"set {setting}={found} or save" if setting else "save"
    raise UserError(
        f"{name} looks like {found.upper()} without a byte-order mark; {change} the file as UTF-8"
    )


def decode_text(data: bytes, name: str) -> str:
    """Decodes a whole file, with unchanged line ends: UTF-8, or UTF-16 or UTF-32 with a byte-order mark.

    >>> decode_text("你好".encode("utf-16"), "prompt.txt")
    '你好'

    Raises:
        UserError: another encoding, or not text; the message has the position of the byte.
    """
    encoding = detect_encoding(data, name)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        found = encoding.removesuffix("-sig").upper()
        raise UserError(
            f"{name} is not {found}: {error.reason} at byte {error.start}; save the file as UTF-8"
        ) from error
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise UserError(f"{name} is not a text file: line {line} holds a NUL; give a text file in UTF-8")
    return text


def read_text(path: str, name: str = "") -> str:
    """Reads a text file, see `decode_text`; "\\r\\n" and "\\r" become "\\n".

    Args:
        path: file to read.
        name: name of the file in messages; "" for the path.
    Raises:
        OSError: the file cannot be read.
        UserError: another encoding, or not text.
    """
    with open(path, "rb") as file:
        text = decode_text(file.read(), name or path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode_lines(
    lines: Iterable[bytes], name: str, encoding: str = "utf-8", setting: str = ""
) -> tuple[Iterator[bytes], str]:
    """Detects the encoding of a stream of lines by its first line; returns the lines and the encoding.

    Byte lines of UTF-16 or UTF-32 are split inside the line end, so such a stream is re-encoded: the returned lines are
    in UTF-8 or `encoding`.
    """
    lines = iter(lines)
    first = next(lines, b"")
    found = detect_encoding(first, name, encoding, setting)
    rest = itertools.chain([first] if first else [], lines)
    if found in ("utf-16", "utf-32"):
        try:
            text = b"".join(rest).decode(found)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name} is damaged {found.upper()}: {error.reason} at byte {error.start}"
            ) from error
        return iter(text.encode("utf-8", "surrogatepass").splitlines(keepends=True)), "utf-8"
    return rest, found


def _is_utf8(head: bytes) -> bool:
    """Whether bytes declared as UTF-16 are UTF-8. Short texts may be valid in both; UTF-8 text has no NULs."""
    if len(head) < _SURE_BYTES or b"\0" in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be truncated
    except UnicodeDecodeError:
        return False
    return True


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32, by the positions of NULs within units of two or four bytes; "" for neither."""
    num_units = len(head) // 4
    if num_units:
        shares = [head[offset : 4 * num_units : 4].count(0) / num_units for offset in range(4)]
        if shares[3] == 1 and shares[2] > 0.9:
            return "utf-32-le"
        if shares[0] == 1 and shares[1] > 0.9:
            return "utf-32-be"
    pairs = max(len(head) // 2, 1)
    even, odd = head[: 2 * pairs : 2].count(0) / pairs, head[1 : 2 * pairs : 2].count(0) / pairs
    for found, many, few in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if many > _NUL_SHARE and few < many / 4:
            return found
    return ""
