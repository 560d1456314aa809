import pytest

from tflm.data.sources.plain_text import read_documents, read_part
from tflm.errors import UserError

POEM = "静夜思\n\n床前明月光，\n疑是地上霜。\n\n\n  indented\n"


def texts(rows):
    return [(row.line, row.example["text"]) for row in rows]


def test_lines_leave_out_blank_ones_and_keep_indentation(write):
    expected = [(1, "静夜思"), (3, "床前明月光，"), (4, "疑是地上霜。"), (7, "  indented")]
    assert texts(read_documents([write("a.txt", POEM)], "line")) == expected


def test_paragraphs(write):
    expected = [(1, "静夜思"), (3, "床前明月光，\n疑是地上霜。"), (7, "  indented")]
    assert texts(read_documents([write("a.txt", POEM)], "paragraph")) == expected


def test_a_file_is_one_document_as_it_stands(write):
    files = [write("a.txt", POEM), write("empty.txt", " \n\n"), write("b.txt", "two")]
    assert texts(read_documents(files, "file")) == [(1, POEM), (1, "two")]


@pytest.mark.parametrize("fraction", [0.1, 0.05, 0.3])
def test_the_parts_of_one_text_join_to_the_text_and_are_cut_at_the_character(write, fraction):
    text = "".join(f"第{i}行 line {i}\n" for i in range(97))
    file = write("a.txt", text)
    [head], [tail] = (list(read_part([file], "file", fraction, part)) for part in ("train", "eval"))
    cut = int(len(text) * (1 - fraction))
    assert head.example["text"] == text[:cut]
    assert tail.example["text"] == text[cut:]
    assert tail.line == 1 + text[:cut].count("\n")


def test_parts_in_lines_keep_their_line_numbers(write):
    file = write("a.txt", "aaaa\nbbbb\ncccc\ndd\n")  # 18 characters, cut at 9, just before a newline
    assert texts(read_part([file], "line", 0.5, "train")) == [(1, "aaaa"), (2, "bbbb")]
    assert texts(read_part([file], "line", 0.5, "eval")) == [(3, "cccc"), (4, "dd")]


def test_only_one_text_has_a_tail(write):
    files = [write("a.txt", "a"), write("b.txt", "b")]
    with pytest.raises(UserError, match="split 'tail' needs one file, but 2 files match"):
        list(read_part(files, "file", 0.1, "train"))
