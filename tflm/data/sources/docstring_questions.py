"""Extractive question answering data from the docstrings of installed packages: real data without a download."""

import functools
import hashlib
import inspect
import json
import os
import re
import sysconfig
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tflm.data.sources.docstrings import _file_docstrings, _package, _python_files, warn_of_unparsed
from tflm.data.sources.rows import Row
from tflm.errors import UserError
from tflm.progress import track
from tflm.text.sentences import first_sentence_span
from tflm.text.words import same_text_key

_LONGEST_CONTEXT, _LONGEST_ANSWER, _MOST_QUESTIONS = (
    3000,
    160,
    4,
)  # characters, characters, for each docstring
_FIRST_LINE = re.compile(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)")
_GOOGLE = re.compile(
    r"^(?:Args|Arguments|Parameters):[ \t]*\n(?P<body>(?:[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)", re.M
)
_NUMPY = re.compile(r"^(?:Other )?Parameters\n-{3,}\n(?P<body>(?:(?!.+\n-{3,}[ \t]*$).*(?:\n|\Z))+)", re.M)
_GOOGLE_ENTRY = re.compile(
    r"^(?P<name>\*{0,2}\w+)(?: ?\((?P<type>[^()\n]+)\))?:[ \t]+(?P<text>\S.*(?:\n+[ \t]+.*)*)", re.M
)
_NUMPY_ENTRY = re.compile(
    r"^(?P<name>\*{0,2}\w+)(?:[ \t]*:[ \t]*(?P<type>\S.*?))?[ \t]*\n(?P<text>(?:[ \t]+\S.*(?:\n+|\Z))+)", re.M
)
_DEFAULT = re.compile(r"\b[Dd]efaults? ?(?:value )?(?:is|to|[:=])? ?[`'\"]{0,2}(?P<value>[\w.+-]*\w)")
_PHRASES = {
    "text": (
        "What is `{}` of {}?",
        "What does `{}` of {} mean?",
        "What is the parameter {} of {}?",
        "What does {1} take as {0}?",
    ),
    "type": (
        "Which type has `{}` of {}?",
        "What type is the parameter {} of {}?",
        "Of which type must {} of {} be?",
    ),
    "default": ("What is the default of `{}` of {}?", "Which value has {} of {} if it is not given?"),
}


class Parameter(NamedTuple):
    """A documented parameter and the spans of its description in the docstring."""

    name: str
    spans: dict[str, tuple[int, int]]
    """(start, end) of "text", the first sentence of the description, and of "type" and "default" if documented."""


def read_docstring_questions(path: str = "") -> Iterator[Row]:
    """Questions about the parameters of each function and class with a docstring in Google or NumPy style.

        def scale(x, by=2):
            \"\"\"Scales.

            Args:
                x (float): A number.
            \"\"\"
        ->  {"question": "What is `x` of package.scale?", "context": the docstring, "answers": '[[30, "A number."]]'}

    Questions ask for the description (first sentence), the type and the default of a parameter, at most four per
    docstring, with phrasings chosen by a hash. One more question is unanswerable: about a parameter of another
    docstring that this one does not mention, or about a default if the docstring mentions none.

    To avoid leakage into held-out splits, the split key is the name of the function, and duplicate docstrings (up to
    case and spaces) are skipped: all questions about functions of one name are in one split. Sentences that packages
    copy between functions ("Random seed.") may be in both splits, but an answer is a span whose position must be found
    in the docstring.

    Args:
        path: a folder of Python sources; "" for the site-packages of the running interpreter.
    Raises:
        UserError: `path` is not a folder.
    """
    if path and not os.path.isdir(path):
        raise UserError(
            f"source 'docstring_parameters' needs a folder of Python sources; {path!r} is not a folder"
        )
    purelib, platlib = sysconfig.get_path("purelib"), sysconfig.get_path("platlib")
    roots = (path,) if path else tuple(sorted({os.path.realpath(purelib), os.path.realpath(platlib)}))
    others: list[str] = []
    for file, line, name, context in _collect(roots):
        parameters = find_parameters(context)
        package = os.path.basename(os.path.normpath(path)) if path else _package(file, roots)
        for question, answers in _questions(f"{package}.{name}", context, parameters, others):
            example = {
                "question": question,
                "context": context,
                "answers": json.dumps(answers, ensure_ascii=False),
            }
            yield Row(file, line, example, key=name)
        others = [parameter.name for parameter in parameters]


def find_parameters(docstring: str) -> list[Parameter]:
    """The parameters of a docstring cleaned by `inspect.cleandoc`, in order.

    >>> find_parameters("Scales.\\n\\nArgs:\\n  x (float): A number. Any.\\n")
    [Parameter(name='x', spans={'text': (28, 37), 'type': (20, 25)})]
    """
    found: dict[str, Parameter] = {}
    for section, entry in ((_GOOGLE, _GOOGLE_ENTRY), (_NUMPY, _NUMPY_ENTRY)):
        for match in section.finditer(docstring):
            body = match["body"]
            indent = len(body) - len(body.lstrip()) if section is _GOOGLE else 0
            for start, block in _blocks(body, indent, match.start("body")):
                if parameter := _parameter(entry.match(block), start):
                    found.setdefault(parameter.name, parameter)
    return list(found.values())


def _blocks(body: str, indent: int, offset: int) -> Iterator[tuple[int, str]]:
    """(start, text) of each entry of a section: a line with indentation `indent` and the following lines with more."""
    head = re.compile(rf"^[ \t]{{{indent}}}(?=\S)", re.M)
    starts = [match.end() for match in head.finditer(body)]
    for start, end in zip(starts, [*starts[1:], len(body)]):
        yield offset + start, body[start:end].rstrip()


def _parameter(match: re.Match[str] | None, offset: int) -> Parameter | None:
    """The parameter of an entry; None if the entry is not a parameter or a span is too long for an answer."""
    if match is None or not match["text"].strip():
        return None
    spans = {"text": _shift(first_sentence_span(match["text"]), match.start("text"))}
    if match["type"]:
        spans["type"] = match.span("type")
        suffix = re.search(r",? *(?:optional|default)\b.*$", match["type"])
        if suffix and suffix.start():
            spans["type"] = (match.start("type"), match.start("type") + suffix.start())
    if default := _DEFAULT.search(match.string):
        spans["default"] = default.span("value")
    if any(not 0 < end - start <= _LONGEST_ANSWER for start, end in spans.values()):
        return None
    return Parameter(match["name"].lstrip("*"), {kind: _shift(span, offset) for kind, span in spans.items()})


def _shift(span: tuple[int, int], by: int) -> tuple[int, int]:
    return span[0] + by, span[1] + by


def _questions(
    function: str, context: str, parameters: Sequence[Parameter], others: Sequence[str]
) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Questions about one docstring and their answers; the last question is unanswerable."""
    asked = [(parameter, kind) for parameter in parameters for kind in parameter.spans]
    for parameter, kind in _hash_order(asked, function)[:_MOST_QUESTIONS]:
        start, end = parameter.spans[kind]
        yield _phrase(kind, parameter.name, function), [(start, context[start:end])]
    without_default = [
        (parameter.name, "default")
        for parameter in parameters
        if "default" not in parameter.spans and not re.search(r"default|optional", context, re.I)
    ]
    unnamed = [(name, "text") for name in others if not re.search(rf"\b{re.escape(name)}\b", context)]
    for name, kind in _hash_order([*without_default[:1], *unnamed[:1]], function)[:1]:
        yield _phrase(kind, name, function), []


def _phrase(kind: str, name: str, function: str) -> str:
    return _PHRASES[kind][_hash(kind, name, function) % len(_PHRASES[kind])].format(name, function)


def _hash_order(items: list[tuple[Any, str]], function: str) -> list[tuple[Any, str]]:
    """Items sorted by a hash."""
    return sorted(items, key=lambda item: _hash(str(item), function))


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


@functools.lru_cache(maxsize=1)  # reading all files takes over ten seconds, and each split does
def _collect(roots: tuple[str, ...]) -> tuple[tuple[str, int, str, str], ...]:
    """(file, line, name, docstring) of the distinct docstrings with parameters."""
    seen: set[str] = set()
    found, unread = [], []  # type: ignore[var-annotated]
    files = [file for root in roots for file in _python_files(root)]
    for file in track(files, "reading docstrings", "files"):
        lines: list[bytes] = []
        for line, docstring in _file_docstrings(file, unread):
            context = inspect.cleandoc(docstring)
            if len(context) > _LONGEST_CONTEXT or not find_parameters(context):
                continue
            content = same_text_key(context)
            if content not in seen:
                seen.add(content)
                lines = lines or _lines_of(file)
                name = _FIRST_LINE.match(lines[line - 1].decode("utf-8", "replace"))
                found.append((file, line, name[1] if name else "", context))
    warn_of_unparsed(unread, len(files))
    return tuple(found)


def _lines_of(file: str) -> list[bytes]:
    with open(file, "rb") as source:
        return source.read().splitlines()
