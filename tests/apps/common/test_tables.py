"""Tables on a terminal and in a pipe, in English and Chinese; running text in the width of a terminal."""

import io
import re
import sys

import pytest

from apps.common.tables import bold, fill, fitted, is_colored, show_table

HEADER = ["", "accuracy", "macro F1"]
ROWS = [["this model", "91.20 [89.10, 93.00]", "90.12"], ["逻辑回归", "8.25 [7.10, 9.00]", "7.12"]]
PLAIN = """                        accuracy  macro F1
this model  91.20 [89.10, 93.00]     90.12
逻辑回归       8.25 [7.10, 9.00]      7.12
"""
TRANSPOSED = """                    this model
accuracy  91.20 [89.10, 93.00]
macro F1                 90.12

                   逻辑回归
accuracy  8.25 [7.10, 9.00]
macro F1               7.12
"""


class Stream(io.StringIO):
    """Standard output that may be a terminal."""

    encoding = "utf-8"

    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal

    @property
    def plain(self):
        return re.sub(r" *\x1b\[[0-9;]*m", "", self.getvalue())


@pytest.fixture
def output(monkeypatch):
    """`output(columns)` makes standard output a terminal of that width; 0 a pipe."""

    def make(columns):
        stream = Stream(columns > 0)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns or 20))
        monkeypatch.delenv("NO_COLOR", raising=False)
        return stream

    return make


def test_a_pipe_gets_plain_text_of_any_width(output, monkeypatch):
    stream = output(0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    show_table(HEADER, ROWS)
    assert stream.getvalue() == PLAIN
    show_table(HEADER, [["长" * 300, "1", "2"]])
    assert len(stream.getvalue().splitlines()) == 5


def test_a_terminal_gets_a_bold_header(output):
    stream = output(60)
    show_table(HEADER, ROWS)
    assert "\x1b[1m" in stream.getvalue().splitlines()[0]
    assert stream.getvalue().splitlines()[1:] == PLAIN.splitlines()[1:]


def test_a_narrow_terminal_gets_a_column_for_each_row(output, monkeypatch):
    for columns, expected in ((42, PLAIN), (41, TRANSPOSED), (30, TRANSPOSED)):
        stream = output(columns)
        monkeypatch.setenv("NO_COLOR", "1")
        show_table(HEADER, ROWS)
        assert stream.getvalue() == expected


def test_columns_that_fit_stand_side_by_side(output, monkeypatch):
    stream = output(24)
    monkeypatch.setenv("NO_COLOR", "1")
    show_table(
        ["run", *(f"measure {n}" for n in range(3))],
        [[name, "1", "2", "3"] for name in ("甲", "乙", "abcdefg")],
    )
    assert stream.getvalue() == (
        "run        甲  乙\n"
        "measure 0   1   1\n"
        "measure 1   2   2\n"
        "measure 2   3   3\n\n"
        "run        abcdefg\n"
        "measure 0        1\n"
        "measure 1        2\n"
        "measure 2        3\n"
    )


def test_a_table_without_rows(output):
    stream = output(0)
    show_table(HEADER, [])
    assert stream.getvalue() == "  accuracy  macro F1\n"


def test_bold_on_a_terminal_alone(output):
    output(0)
    assert bold("error:", "red") == "error:"
    output(80)
    assert bold("error:", "red") == "\x1b[1;31merror:\x1b[0m"
    assert bold("错误", stream=Stream(False)) == "错误"


def test_no_colour_where_nobody_wants_it(output, monkeypatch):
    output(80)
    assert is_colored()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_colored() and bold("a") == "a"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_colored()


HELP = "Counts words.\n\n  tflm count --text=a --limit=5\n\nThe words are\ncounted in a text of a file."


def test_a_help_text_has_the_width_of_the_terminal(output):
    output(0)
    assert fitted(HELP) == HELP
    output(20)
    assert fitted(HELP) == (
        "Counts words.\n\n  tflm count --text=a --limit=5\n\nThe words are\ncounted in a text of\na file."
    )


def test_lists_stay_as_they_are():
    text = "Prints:\n  --a  one\n  --b  two"
    assert fill(text, 10) == text
    assert fill("Cost: 300 steps of ten", 12, "  ") == "Cost: 300\n  steps of\n  ten"
