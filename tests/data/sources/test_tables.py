import json

import pytest

from tflm.data.sources.tables import parse_object, read_jsonl, read_table
from tflm.errors import UserError

PAIR = {"source": "question", "target": "answer"}


def test_csv_with_quotes_newlines_and_full_width_punctuation(write):
    text = '\ufeffid,answer,question\n1,"四，""四""","二加二，\n等于几？"\n\n2,Paris,"Capital, of France?"\n'
    rows = list(read_table([write("a.csv.gz", text)], PAIR, "csv"))
    assert [row.example for row in rows] == [
        {"source": "二加二，\n等于几？", "target": '四，"四"'},
        {"source": "Capital, of France?", "target": "Paris"},
    ]
    assert [row.line for row in rows] == [2, 5]  # rows are named by the line where they begin


def test_tsv_takes_quotes_as_they_are_and_columns_by_number(write):
    file = write("a.tsv", 'a " quote\t1\n一个"引号\t0\n')
    rows = list(read_table([file], {"source": "0", "target": "1"}, "tsv"))
    assert [tuple(row.example.values()) for row in rows] == [('a " quote', "1"), ('一个"引号', "0")]


def test_bad_csv_rows_are_named_and_the_next_row_is_read(write):
    text = 'question,answer\nq1,a1\nonly one\nq2,a2,more\n"q"3,a3\nq4,a4\n"open,a5\n'
    rows = list(read_table([write("a.csv", text)], PAIR, "csv"))
    assert [(row.line, row.problem) for row in rows if row.problem] == [
        (3, "not 2 columns"),
        (4, "not 2 columns"),
        (5, "not readable as csv (',' expected after '\"')"),
        (7, "not readable as csv (unexpected end of data)"),
    ]
    assert [row.example["source"] for row in rows if not row.problem] == ["q1", "q4"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_mark_that_nothing_closes_loses_the_lines_to_the_end(write, end):
    text = "question,answer\n" + 'q,a\n问,"答\n' + "x,y\n" * 20 + "z,z" + end
    rows = list(read_table([write("a.csv", text)], PAIR, "csv"))
    assert [(row.line, row.num_rows, row.problem) for row in rows] == [
        (2, 1, ""),
        (3, 22, "lines joined by a stray quotation mark (unexpected end of data)"),
    ]


@pytest.mark.parametrize("width", [2, 3, 5])
def test_two_stray_marks_that_make_a_row_of_many(write, width):
    rest = ",1" * (width - 1)
    lines = [f"第{n}行{rest}" for n in range(40)]
    lines[10], lines[30] = f'"{lines[10]}', f'line"{rest}'  # together a row with the right number of cells
    header = ",".join(["text", "label", "c", "d", "e"][:width])
    rows = list(read_table([write("a.csv", f"{header}\n" + "\n".join(lines))], {"text": "text"}, "csv"))
    words = "lines joined by a stray quotation mark"
    assert [(row.line, row.num_rows, row.problem) for row in rows if row.problem] == [(12, 21, words)]
    assert len(rows) == 40 - 21 + 1


def test_two_stray_marks_in_a_table_of_one_column(write):
    lines = [f"text {n}" for n in range(100)]
    lines[20], lines[90] = '"' + lines[20], lines[90] + '"'
    rows = list(read_table([write("a.csv", "text\n" + "\n".join(lines))], {"text": "text"}, "csv"))
    assert [(row.line, row.num_rows) for row in rows if row.problem] == [(22, 71)]


@pytest.mark.parametrize(
    "cell",
    [
        "\n".join(f"line {n} of a long text" for n in range(80)),
        "\n".join(f"line {n}, with a comma, or two" if n % 2 else f"第{n}行，没有逗号" for n in range(80)),
        "Dear Anna,\nthanks, all fine,\nBob",
    ],
)
def test_long_cells_are_believed(write, cell):
    text = f'question,answer\nq,a\n"{cell}",a\nq2,a2\n'
    rows = list(read_table([write("a.csv", text)], PAIR, "csv"))
    assert [row.problem for row in rows] == ["", "", ""]
    assert rows[1].example["source"] == cell
    assert rows[1].num_lines == cell.count("\n") + 1


def test_cells_that_look_like_rows_are_believed_where_all_are_long(write):
    verse = "\n".join(f"so long, {n}" for n in range(12))
    text = "question,answer\n" + f'"short\none",a\n"{verse}",a\n' * 4
    assert not any(row.problem for row in read_table([write("a.csv", text)], PAIR, "csv"))


@pytest.mark.parametrize(("source", "separator"), [("csv", ","), ("tsv", "\t")])
def test_blanks_around_the_names_of_columns_do_not_count(write, source, separator):
    file = write("a", separator.join([" id", "question ", "\u3000answer"]) + "\n" + separator.join("1qa"))
    for columns in (PAIR, {"source": " question", "target": "answer "}):
        (row,) = read_table([file], columns, source)
        assert row.example == {"source": "q", "target": "a"}


@pytest.mark.parametrize(("source", "separator"), [("csv", ","), ("tsv", "\t")])
def test_two_columns_of_one_name_are_refused_where_it_is_wanted(write, source, separator):
    file = write("a", separator.join(["文本", "id", " 文本", "id"]) + "\n" + separator.join("abcd"))
    with pytest.raises(
        UserError, match=r"a:1: columns 1 and 3 are both named '文本'; give each a unique name"
    ):
        list(read_table([file], {"text": "文本"}, source))


def test_each_file_has_its_own_header(write):
    files = [write("a.csv", "question,answer\nq1,a1\n"), write("b.csv", "answer,question\na2,q2\n")]
    assert [row.example["source"] for row in read_table(files, PAIR, "csv")] == ["q1", "q2"]


def test_a_missing_column_lists_those_there_are_and_the_closest(write):
    file = write("a.csv", "id,questions,answer\n1,q,a\n")
    with pytest.raises(UserError) as error:
        list(read_table([file], PAIR, "csv"))
    assert f"{file}:1: no column 'question'; the columns are id, questions, answer" in str(error.value)
    assert "did you mean 'questions'?" in str(error.value)
    with pytest.raises(UserError, match=r"no column '3'; the columns are 0, 1, 2"):
        list(read_table([file], {"text": "3"}, "csv"))
    file = write("a.jsonl", '\n{"text": "x"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl:2: no column 'texts'.*did you mean 'text'"):
        list(read_jsonl([file], {"text": "texts"}))


def test_jsonl_values_and_bad_lines(write):
    lines = [
        json.dumps({"question": "二加二？", "answer": 4}, ensure_ascii=False),
        '{"question": "broken", ',
        '["question", "answer"]',
        json.dumps({"question": "half", "answer": 0.5}),
        json.dumps({"question": ["a", "list"], "answer": "x"}),
        json.dumps({"question": "null", "answer": None}),
        json.dumps({"question": "absent"}),
    ]
    rows = list(read_jsonl([write("a.jsonl", "\n".join(lines))], PAIR))
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row.problem for row in rows] == [
        "",
        "malformed JSON (Expecting property name enclosed in double quotes)",
        "a JSON array; write one object a line",
        "",
        "column 'question' holds a list, not text",
        "",
        "",
    ]
    assert rows[0].example == {"source": "二加二？", "target": "4"}
    assert rows[3].example["target"] == "0.5"
    assert rows[5].example["target"] == rows[6].example["target"] == ""  # found to be empty when cleaned


@pytest.mark.parametrize(
    ("line", "problem", "num_rows"),
    [
        ("5", "a JSON number, not an object; write one object a line", 1),
        ("true", "a JSON boolean, not an object; write one object a line", 1),
        ('"文"', "a JSON string, not an object; write one object a line", 1),
        ("null", "a JSON null, not an object; write one object a line", 1),
        ("[]", "a JSON array; write one object a line", 1),
        ("[1, 2, 3]", "a JSON array; write one object a line", 3),
        ('{"a": 1} {"a": 2}', "several JSON values; write one object a line", 2),
        ("[", "JSON over several lines; write one object a line", 1),
        ("[" * 100_000, "malformed JSON (nested too deeply, or a number too long)", 1),
        ("9" * 5000, "malformed JSON (nested too deeply, or a number too long)", 1),
    ],
)
def test_lines_that_are_no_object(line, problem, num_rows):
    assert parse_object(line) == ({}, problem, num_rows)
