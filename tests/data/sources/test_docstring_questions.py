"""Questions about parameters: what is found in docstrings of two styles, what is asked, and on which side."""

import json
import re

import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.docstring_questions import find_parameters, read_docstring_questions
from tflm.errors import UserError

GOOGLE = """Scales numbers.

Args:
    x (list of float): 一个数 to scale. It may be
        large.
    by: The factor by which
        all is scaled. Defaults to 2.
    **kwargs: Others.

Returns:
    y: A number.
"""
NUMPY = """Sums.

Parameters
----------
a : array_like, optional
    Elements to sum.
axis, out
    Not a single name.
keep : bool, default=False
    Whether to keep, e.g. all
    of them. More.

Returns
-------
total : ndarray
    The sum.
"""
SOURCE = '''
class Scaler:
    """{}"""

    @cached
    async def total(self, a):
        """{}"""
'''


def said(docstring):
    """Of each parameter what is said of it."""
    return {
        parameter.name: {kind: docstring[start:end] for kind, (start, end) in parameter.spans.items()}
        for parameter in find_parameters(docstring)
    }


def test_parameters_as_google_and_numpy_write_them():
    assert said(GOOGLE) == {
        "x": {"text": "一个数 to scale.", "type": "list of float"},
        "by": {"text": "The factor by which\n        all is scaled.", "default": "2"},
        "kwargs": {"text": "Others."},
    }
    assert said(NUMPY) == {
        "a": {"text": "Elements to sum.", "type": "array_like"},
        "keep": {"text": "Whether to keep, e.g. all\n    of them.", "type": "bool", "default": "False"},
    }
    assert said("Adds.\n\nReturns:\n    x: A number.") == {}
    assert said("Adds.\n\nArgs:\n    x: " + "very " * 40 + "long.") == {}


@pytest.fixture
def package(write, tmp_path):
    write("lib/a.py", SOURCE.format(GOOGLE.replace("\n", "\n    "), NUMPY.replace("\n", "\n        ")))
    write(
        "lib/copy.py",
        SOURCE.format(GOOGLE.replace("\n", "\n    "), "Nothing here.").replace("Scaler", "Other"),
    )
    return str(tmp_path / "lib")


def test_questions(package):
    rows = list(read_docstring_questions(package))
    assert [row.key for row in rows] == ["Scaler"] * 4 + ["total"] * 5, (
        "four, and one that has no answer; no copy"
    )
    assert {row.line for row in rows} == {2, 17}
    for row in rows:
        example = row.example
        assert f" lib.{row.key}" in example["question"]
        (name,) = (
            found for found in re.search(r"(\w+)`? of lib|as (\w+)\?", example["question"]).groups() if found
        )
        kind = (
            re.search(r"type|default|not given|$", example["question"])[0].replace("not given", "default")
            or "text"
        )
        known = said(example["context"])
        if example["answers"] == "[]":
            assert name not in known
            continue
        ((start, text),) = json.loads(example["answers"])
        assert example["context"][start : start + len(text)] == text == known[name][kind]
    assert sum(row.example["answers"] == "[]" for row in rows) == 1


def test_no_function_is_on_both_sides(write, tmp_path):
    function = (
        'def f{}():\n    """Number {}.\n\n    Args:\n        x: A number {}.\n        y: Another.\n    """\n'
    )
    for number in range(3):
        write(f"lib/m{number}.py", "\n".join(function.format(n, n * 3 + number, n) for n in range(30)))
    config = DataConfig("docstring_parameters", str(tmp_path / "lib"), eval_fraction=0.3)
    train, held_out = (list(read_examples(config, split)) for split in ("train", "eval"))
    names = [
        {word for e in side for word in e["question"].split() if "lib." in word} for side in (train, held_out)
    ]
    assert len(names[1]) >= 4
    plain = [{name.strip("?") for name in side} for side in names]
    assert not plain[0] & plain[1]
    assert not {e["context"] for e in train} & {e["context"] for e in held_out}


def test_a_path_that_is_no_folder():
    with pytest.raises(
        UserError, match="'docstring_parameters' needs a folder of Python sources; 'absent' is not"
    ):
        list(read_docstring_questions("absent"))
    with pytest.raises(UserError, match="source 'docstring_parameters' has no columns"):
        DataConfig("docstring_parameters", text_column="docstring")
