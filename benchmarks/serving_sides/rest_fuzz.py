"""HTTP requests that a server must bear: valid ones for the model of the conformance cases, mutated.

A case is a function of the seed and its number alone, so that a number is all that is needed to send one again. A
grammar gives valid requests; then the tree of a body is changed, or the bytes of the body, the URL, the headers, or how
the body is framed. hypothesis was the alternative: it shrinks what fails, but draws some hundreds of cases a second,
keeps its own database, and its cases have no number.
"""

import copy
import dataclasses
import gzip
import json
import random
import urllib.parse
from typing import Any

MODEL = "/v1/models/probe"
_TYPES = {"float32": 1.5, "float64": -2.0, "int32": -3, "int64": 2**53 + 1, "uint8": 255, "bool": True}
_PREDICT: list[Any] = [
    {"instances": ["ÄB", "你好"]},
    {"inputs": {"text": ["a", {"b64": "aGk="}]}},
    {"signature_name": "raw", "inputs": [0, 34, 255]},
    {"signature_name": "linear", "inputs": {"x": [[1.0, 2.0, 3.0]], "n": [2]}},
    {"signature_name": "linear", "instances": [{"x": [1, 2, 3], "n": 2}, {"x": [0.5, 0, -1], "n": 0}]},
    {"signature_name": "product", "inputs": [[1.0, 2.0], [3.0, 4.0]]},
    {"signature_name": "types", "instances": [_TYPES, _TYPES]},
    {"signature_name": "floats", "instances": [0.1, 1e30, -0.0]},
    {"signature_name": "total", "inputs": [1.0, 2.0]},
    {"signature_name": "joined", "instances": [["a", "b"], ["你", "好"]]},
    {"signature_name": "which", "instances": [""]},
]
_EXAMPLES: list[Any] = [
    {"signature_name": "classify", "examples": [{"age": 0.25}, {"age": [0.5], "name": "你"}]},
    {
        "signature_name": "regress",
        "context": {"age": 0.5},
        "examples": [{}, {"age": 1.0, "x": {"b64": "/w=="}}],
    },
]
_WAIT = {"signature_name": "wait", "inputs": [0.0]}
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, 2**31, -(2**31) - 1, 2**63, 2**64, -(2**63) - 1, 10**400,
    0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"), "", "x", "你好😀", "\0", "\ud800", "a" * 3000,
    {"b64": "aGk="}, {"b64": "*"}, {"b64": 1}, {"b64": "", "x": 1}, [], [[]], {}, [1, [2]], ["x", 1],
]  # fmt: skip
_SPLICES = [
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\\u00", b"NaN", b"1e999", b"-", b"9" * 5000, b"[" * 2000,
    b'{"b64":', b"\xef\xbb\xbf", b"\0", b"//", b"'", b",", b"}", b"]", b'"', b"\\",
]  # fmt: skip
_PATHS = [
    MODEL, f"{MODEL}/metadata", f"{MODEL}/versions/1", f"{MODEL}/labels/stable/metadata", "/v1/models", "/v1/",
    "/", "/V1/Models/probe", "/v1/models/probe:stream", "/v1/completions", "/monitoring/prometheus/metrics",
    f"{MODEL}/versions/99999999999999999999", f"{MODEL}/versions/" + "9" * 5000, f"{MODEL}/labels/%00",
]  # fmt: skip
_URL_SPLICES = [
    "%00", "%2F", "%2e%2e/", "../", "%ff", "%zz", "%", "//", "?a=b", "?", "#x", ":", ":predict", "%E4%BD%A0", "*",
    "/versions/1", "/labels/x", "/metadata", ";", "@", "a" * 3000, "%25", "[", "]", "+", "\\",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RestCase:
    """One thing to send."""

    kind: str
    payload: bytes
    """All bytes that go over the connection."""
    is_whole: bool
    """It is one request by HTTP's rules, so that it has one answer and the connection can be used again."""
    may_wait: bool = False
    """It may ask the signature `wait` for a long time."""


def rest_case(seed: int, index: int) -> RestCase:
    """Case number `index`; the same for ever."""
    draw = random.Random(f"rest {seed} {index}")
    (kind,) = draw.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])
    payload, is_whole = _KINDS[kind][1](draw)
    return RestCase(kind, payload, is_whole, b"wait" in payload or b"Content-Encoding" in payload)


def request(method: str, path: str, body: bytes, headers: str = "", length: str | None = None) -> bytes:
    """The bytes of a request; `length` is what it claims of its body."""
    length = str(len(body)) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def mutate_bytes(draw: random.Random, data: bytes) -> bytes:
    """One to four changes: a byte, a piece away, a piece twice, something put in, or the end cut off."""
    for _ in range(draw.randint(1, 4)):
        begin = draw.randint(0, len(data))
        end = min(len(data), begin + draw.choice([1, 2, 8, 40]))
        middle = draw.choice(
            [
                bytes([draw.randrange(256)]), b"", data[begin:end] * 2, draw.choice(_SPLICES) + data[begin:end],
                draw.randbytes(4), data[begin:end].swapcase(),
            ]
        )  # fmt: skip
        data = data[:begin] + middle + (b"" if draw.random() < 0.1 else data[end:])
    return data


def mutate_tree(draw: random.Random, value: Any) -> Any:
    """A parsed body with one place changed: another value, one element more or less, another key, a list around it."""
    places = list(_places(value))
    if not places or draw.random() < 0.05:
        return draw.choice([[value], draw.choice(_VALUES)])
    holder, key = draw.choice(places)
    change = draw.randrange(6)
    if change == 0:
        del holder[key]
    elif change == 1:
        holder[key] = [holder[key]]
    elif change == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif change == 3 and isinstance(holder, dict):
        holder[draw.choice(["", "x", "inputs", "instances", "text", "你", "b64", key + " "])] = holder.pop(
            key
        )
    else:
        holder[key] = copy.deepcopy(draw.choice(_VALUES))
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _valid(draw: random.Random) -> tuple[str, Any]:
    """Path and body."""
    if draw.random() < 0.003:
        return f"{MODEL}:predict", copy.deepcopy(_WAIT)
    if draw.random() < 0.2:
        body = copy.deepcopy(draw.choice(_EXAMPLES))
        return f"{MODEL}:{body['signature_name']}", body
    where = draw.choice(["", "/versions/1", "/versions/2", "/labels/stable"])
    return f"{MODEL}{where}:predict", copy.deepcopy(draw.choice(_PREDICT))


def _text(draw: random.Random, body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def _plain(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    return request("POST", path, _text(draw, body)), True


def _tree(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    for _ in range(draw.randint(1, 3)):
        body = mutate_tree(draw, body)
    return request("POST", path, _text(draw, body)), True


def _bytes(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    return request("POST", path, mutate_bytes(draw, _text(draw, body))), True


def _nested(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    depth = draw.choice([5, 31, 32, 33, 34, 64, 65, 900, 1100, 30000])
    deep = b"[" * depth + b"1" + b"]" * draw.choice([depth, depth - 1])
    deep = deep if draw.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth
    key = draw.choice([b"inputs", b"instances", b"examples", b"signature_name"])
    name = json.dumps(body["signature_name"]).encode() if "signature_name" in body else b'""'
    return request("POST", path, b'{"signature_name": ' + name + b', "' + key + b'": ' + deep + b"}"), True


def _url(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    path = draw.choice([path, *_PATHS])
    for _ in range(draw.randint(0, 3)):
        place = draw.randint(0, len(path))
        path = path[:place] + draw.choice(_URL_SPLICES) + path[place + draw.choice([0, 0, 1, 5]) :]
    if draw.random() < 0.2:
        path = urllib.parse.quote(path, safe=draw.choice(["", "/", "/:"]))
    method = draw.choice(["POST", "POST", "GET", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
    return request(method, path or "/", _text(draw, body)), method != "HEAD"


def _raw_url(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    line = mutate_bytes(draw, f"POST {path} HTTP/1.1".encode())
    return line + request("POST", path, _text(draw, body)).split(b"HTTP/1.1", 1)[1], False


def _headers(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    lines = [
        "Accept: */*", "Expect: 100-continue", "Connection: close", "Connection: upgrade\r\nUpgrade: websocket",
        "X: " + "a" * 70000, "\r\n".join(f"X{i}: y" for i in range(300)), "Transfer-Encoding: gzip", "X : y",
        "Authorization: Bearer \udcff", "Content-Type: text/\x00", ": y", "Cookie: a=b; c", "Host: other", "X:\ty",
        "Content-Length: 3", "Content-Length: 0x10", "Accept-Encoding: gzip;q=x", "traceparent: 00-0-0-0", "é: ü",
        "Origin: null", "Transfer-Encoding: chunked",
    ]  # fmt: skip
    return request("POST", path, _text(draw, body), draw.choice(lines) + "\r\n"), False


def _length(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    text = _text(draw, body)
    claims = [
        len(text) - 1,
        len(text) + 1,
        0,
        -1,
        2**31,
        2**63,
        10**30,
        "",
        "x",
        "1e3",
        "+5",
        f"{len(text)}, 3",
    ]
    return request("POST", path, text, length=str(draw.choice(claims))), False


def _chunked(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    text = _text(draw, body)
    cuts = sorted(draw.randint(0, len(text)) for _ in range(3))
    pieces = [
        text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if end > begin
    ]
    ends = [b"\r\n", b";a=b\r\n"]
    data = b"".join(b"%x%b%b\r\n" % (len(piece), draw.choice(ends), piece) for piece in pieces) + b"0\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return (head + data, True) if draw.random() < 0.5 else (head + mutate_bytes(draw, data), False)


def _gzip(draw: random.Random) -> tuple[bytes, bool]:
    path, body = _valid(draw)
    packed = gzip.compress(_text(draw, body), mtime=0)
    if draw.random() < 0.01:
        packed = gzip.compress(
            b'{"instances": ["' + b"a" * 2**26, 1, mtime=0
        )  # unpacked it is above the limit
    elif draw.random() < 0.6:
        packed = draw.choice([mutate_bytes(draw, packed), packed[: draw.randint(0, len(packed))], packed * 2])
    coding = draw.choice(["gzip", "gzip", "gzip", "GZIP", "deflate", "br", "gzip, gzip", "identity", ""])
    return request("POST", path, packed, f"Content-Encoding: {coding}\r\n"), True


def _pipeline(draw: random.Random) -> tuple[bytes, bool]:
    payload = b"".join(_plain(draw)[0] for _ in range(draw.randint(2, 5)))
    return payload + draw.choice(
        [b"", draw.randbytes(30), b"GET", b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    ), False


def _garbage(draw: random.Random) -> tuple[bytes, bool]:
    choices = [
        draw.randbytes(draw.randint(1, 300)), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 50,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", mutate_bytes(draw, _plain(draw)[0]), b"GET / HTTP/9.9\r\n\r\n",
    ]  # fmt: skip
    return draw.choice(choices), False


_KINDS = {
    "plain": (10, _plain),
    "tree": (34, _tree),
    "bytes": (24, _bytes),
    "nested": (2, _nested),
    "url": (12, _url),
    "raw url": (2, _raw_url),
    "headers": (3, _headers),
    "length": (2, _length),
    "chunked": (3, _chunked),
    "gzip": (4, _gzip),
    "pipeline": (2, _pipeline),
    "garbage": (2, _garbage),
}
