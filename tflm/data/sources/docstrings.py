"""The docstrings of installed Python packages as pairs, texts or labelled texts: real data without a download."""

import ast
import collections
import functools
import gc
import inspect
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from tflm.data.sources.rows import Row
from tflm.errors import UserError
from tflm.progress import track
from tflm.text.words import same_text_key

_MIN_BODY, _MIN_SUMMARY, _MAX_SUMMARY = 20, 10, 200  # characters
_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "__pycache__"})
_NO_SUMMARY = ("todo", "args:", "arguments:", "parameters", "returns", "raises", "example", "usage", "note:")
_Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_LEAST_SHARE = 0.01


def read_docstrings(path: str = "", text_column: str = "", label_column: str = "") -> Iterator[Row]:
    """A row for each function, method and class whose docstring has a summary and a body.

    Sources are parsed, not imported; test files are skipped. Pairs whose bodies are equal up to case and spaces are
    deduplicated; the first in file name order is kept. The split key is the summary, so no body and no summary is in
    two splits.

    Args:
        path: a folder of Python sources; "" for the site-packages of the running interpreter.
        text_column: "docstring" for {"text": summary, blank line, body}; "" for {"source": body, "target":
            summary}.
        label_column: "package" for {"text": summary, blank line, body, "label": top-level package}. Packages with
            less than 1% of the docstrings are skipped.

    Raises:
        UserError: `path` is not a folder.
    """
    if path and not os.path.isdir(path):
        raise UserError(f"source 'docstrings' needs a folder of Python sources; {path!r} is not a folder")
    purelib, platlib = sysconfig.get_path("purelib"), sysconfig.get_path("platlib")
    roots = (path,) if path else tuple(sorted({os.path.realpath(purelib), os.path.realpath(platlib)}))
    rows = _collect(roots)
    packages = [_package(row.file, roots) for row in rows] if label_column else [""] * len(rows)
    counts = collections.Counter(packages)
    for row, package in zip(rows, packages, strict=True):
        if counts[package] < _LEAST_SHARE * len(rows):
            continue
        if not text_column and not label_column:
            yield row
            continue
        example = {"text": "\n\n".join((row.example["target"], row.example["source"]))}
        if label_column:
            example["label"] = package
        yield row._replace(example=example)


def _package(file: str, roots: tuple[str, ...]) -> str:
    """The top-level package or module of a file below one of the roots."""
    parts = next(
        parts for root in roots if (parts := Path(os.path.relpath(file, root)).parts)[0] != os.pardir
    )
    return parts[0].removesuffix(".py")


@functools.lru_cache(maxsize=1)  # about 20 MB; reading all files takes over ten seconds, and each split does
def _collect(roots: tuple[str, ...]) -> tuple[Row, ...]:
    files = [file for root in roots for file in _python_files(root)]
    collecting = gc.isenabled()
    gc.disable()  # two thirds of the time would be garbage collection over live syntax trees
    try:
        return tuple(_unique_rows(files))
    finally:
        if collecting:
            gc.enable()


def _unique_rows(files: list[str]) -> Iterator[Row]:
    seen: set[str] = set()
    unread: list[str] = []
    for file in track(files, "reading docstrings", "files"):
        for line, docstring in _file_docstrings(file, unread):
            pair = split_docstring(docstring)
            if pair is None:
                continue
            body = same_text_key(pair[0])
            if body not in seen:
                seen.add(body)
                yield Row(file, line, {"source": pair[0], "target": pair[1]}, key=pair[1])
    warn_of_unparsed(unread, len(files))


def warn_of_unparsed(unread: list[str], num_files: int) -> None:
    """Warns if more than 1% of the files cannot be parsed; installed packages have a few of them."""
    if len(unread) > _LEAST_SHARE * num_files:
        logging.warning(
            "%d of %d files cannot be parsed as Python source and are skipped; the first is %s",
            len(unread),
            num_files,
            unread[0],
        )


def _python_files(root: str) -> Iterator[str]:
    """All Python files below `root` except tests, in a fixed order."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            n for n in subfolders if n not in _SKIPPED_FOLDERS and not n.endswith("_tests")
        )
        for name in sorted(names):
            is_test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
            if name.endswith(".py") and not is_test:
                yield os.path.join(folder, name)


def _file_docstrings(file: str, unread: list[str]) -> Iterator[tuple[int, str]]:
    """(line, docstring) of the functions and classes of a file; a file that cannot be parsed is added to `unread`."""
    try:
        with open(file, "rb") as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in string literals
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        unread.append(file)
        return
    yield from _docstrings(tree)


def _docstrings(node: _Node) -> Iterator[tuple[int, str]]:
    """Depth-first traversal of classes and functions."""
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(child, clean=False)
            if docstring:
                yield child.lineno, docstring
            yield from _docstrings(child)


def split_docstring(docstring: str) -> tuple[str, str] | None:
    """(body, summary), or None without a body or a suitable summary.

    >>> split_docstring("Adds two numbers.\\n\\n    Both must be finite; overflow is not checked.")
    ('Both must be finite; overflow is not checked.', 'Adds two numbers.')
    """
    text = inspect.cleandoc(docstring)
    first, _, rest = text.partition("\n\n")
    summary, body = " ".join(first.split()), rest.strip()
    fits = _MIN_SUMMARY <= len(summary) <= _MAX_SUMMARY and len(summary.split()) > 1
    starts_well = summary[:1].isalpha() and not summary.lower().startswith(_NO_SUMMARY)
    if not fits or not starts_well or summary.endswith(":") or len(body) < _MIN_BODY:
        return None
    return body, summary
