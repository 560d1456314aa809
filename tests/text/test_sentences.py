"""Sentence boundaries in English, Chinese and other scripts."""

import pytest

from tflm.text.sentences import END, first_sentence, first_sentence_span, split_sentences


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
        ("यह एक है। वह दो है।", "यह एक है।"),
        ("هل هذا صحيح؟ نعم.", "هل هذا صحيح؟"),
        ("", ""),
        (" \n ", ""),
        ("Takes a name, e.g. a path. Returns it.", "Takes a name, e.g. a path."),
        ("Made in the U.S. It was good.", "Made in the U.S."),
        ("Wait... what? Yes.", "Wait..."),
        ('He said "Stop!" Then he left.', 'He said "Stop!"'),
        ("先看；再说。好", "先看；再说。"),
    ],
)
def test_first_sentence(text, expected):
    assert first_sentence(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ('One. "Two!" Three', ["One. ", '"Two!" ', "Three"]),
        ("他说：“好。”三？四！！五", ["他说：“好。”", "三？", "四！！", "五"]),
        ("Version 1.5 of a.b is out. 完。End", ["Version 1.5 of a.b is out. ", "完。", "End"]),
        ("वह आया। वह गया।", ["वह आया। ", "वह गया।"]),
        ("A title\n\nA text", ["A title\n\n", "A text"]),
        ("", []),
    ],
)
def test_sentences_joined_are_the_text(text, expected):
    assert split_sentences(text) == expected
    assert "".join(expected) == text


def test_clauses():
    assert split_sentences("先看；再说……好。完", clauses=True) == ["先看；", "再说……", "好。", "完"]
    assert split_sentences("先看；再说……好。完") == ["先看；再说……好。", "完"]


def test_the_span_of_the_first_sentence():
    for text in (" One. Two.", "\n读取文件。 出错", "no end ", ""):
        start, end = first_sentence_span(text)
        assert text[start:end] == text.strip()[: end - start]
        assert " ".join(text[start:end].split()) == first_sentence(text)


def test_ends_for_finditer():
    text = 'One. "Two!" 三。\n四'
    assert [match.end() for match in END.finditer(text)] == [4, 11, 14, 15]


def test_a_long_row_of_dots_takes_no_time_that_grows_with_its_square():
    text = "a" + "." * 200_000 + " x"
    assert split_sentences(text) == [text[:-1], "x"]
