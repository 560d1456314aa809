"""The first sentence."""

import pytest

from tflm.evaluation import first_sentence


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Reads a file.\nRaises an error if it cannot.", "Reads a file."),
        ("Is it there? Yes! It is.", "Is it there?"),
        ("Stop! Now.", "Stop!"),
        ("A sentence over\n   two lines. Another.", "A sentence over two lines."),
        ("A paragraph without a full stop\n\nAnother.", "A paragraph without a full stop"),
        ("no end at all", "no end at all"),
        ("  Outer spaces.  ", "Outer spaces."),
        ("Version 3.11 reads a.b.c. Then it stops.", "Version 3.11 reads a.b.c."),
        ("读取文件。出错时抛出异常。", "读取文件。"),
        ("真的吗？是的！", "真的吗？"),
        ("太好了！再见。", "太好了！"),
        ("调用 f.read()。然后关闭", "调用 f.read()。"),
        ("没有句号", "没有句号"),
        ("", ""),
        (" \n ", ""),
        # An abbreviation before a space ends it too, as the docstring says.
        ("Takes a name, e.g. a path. Returns it.", "Takes a name, e.g."),
    ],
)
def test_first_sentence(text, expected):
    assert first_sentence(text) == expected
