"""Layers and models run on every Keras backend: they import keras, and TensorFlow not even inside a function. What
reads and writes public checkpoints also imports what reads files."""

import ast
import pathlib

import pytest

import tflm

ROOT = pathlib.Path(tflm.__file__).parent
FILES = sorted([*(ROOT / "layers").rglob("*.py"), *(ROOT / "models").rglob("*.py")])


def imported(path):
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_tensorflow(path):
    roots = {name.split(".")[0] for name in imported(path)}
    own = {name.split(".")[1] for name in imported(path) if name.startswith("tflm.")}
    allowed = {"keras", "tflm", "typing", "collections", "dataclasses", "functools", "math", "re", "warnings"}
    allowed |= {"contextlib", "threading"}  # each replica of a strategy is traced in a thread of its own
    allowed_own = {"config", "errors", "layers", "models"}
    if path.parent.name == "checkpoints":
        allowed |= {"json", "os", "pickle", "struct", "zipfile", "numpy", "ml_dtypes", "safetensors", "gguf"}
        allowed_own |= {"files", "registry"}
    assert roots <= allowed
    assert own <= allowed_own


def test_there_are_files_to_read():
    assert len(FILES) >= 10
