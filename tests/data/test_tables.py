import json

import pytest

from tflm.data.tables import read_jsonl, read_table
from tflm.errors import UserError

PAIR = {"source": "question", "target": "answer"}


def test_csv_with_quotes_newlines_and_full_width_punctuation(write):
    text = '\ufeffid,answer,question\n1,"四，""四""","二加二，\n等于几？"\n\n2,Paris,"Capital, of France?"\n'
    rows = list(read_table([write("a.csv.gz", text)], PAIR, ","))
    assert [row.example for row in rows] == [
        {"source": "二加二，\n等于几？", "target": '四，"四"'},
        {"source": "Capital, of France?", "target": "Paris"},
    ]
    assert [row.line for row in rows] == [2, 5]  # rows are named by the line where they begin


def test_tsv_takes_quotes_as_they_are_and_columns_by_number(write):
    file = write("a.tsv", 'a " quote\t1\n一个"引号\t0\n')
    rows = list(read_table([file], {"source": "0", "target": "1"}, "\t"))
    assert [tuple(row.example.values()) for row in rows] == [('a " quote', "1"), ('一个"引号', "0")]


def test_bad_csv_rows_are_named_and_the_next_row_is_read(write):
    text = 'question,answer\nq1,a1\nonly one\nq2,a2,more\n"q"3,a3\nq4,a4\n"open,a5\n'
    rows = list(read_table([write("a.csv", text)], PAIR, ","))
    assert [(row.line, row.problem) for row in rows if row.problem] == [
        (3, "not 2 columns"),
        (4, "not 2 columns"),
        (5, "not readable as csv (',' expected after '\"')"),
        (7, "not readable as csv (unexpected end of data)"),
    ]
    assert [row.example["source"] for row in rows if not row.problem] == ["q1", "q4"]


def test_each_file_has_its_own_header(write):
    files = [write("a.csv", "question,answer\nq1,a1\n"), write("b.csv", "answer,question\na2,q2\n")]
    assert [row.example["source"] for row in read_table(files, PAIR, ",")] == ["q1", "q2"]


def test_a_missing_column_lists_those_there_are_and_the_closest(write):
    file = write("a.csv", "id,questions,answer\n1,q,a\n")
    with pytest.raises(UserError) as error:
        list(read_table([file], PAIR, ","))
    assert f"{file}:1: no column 'question'; the columns are id, questions, answer" in str(error.value)
    assert "did you mean 'questions'?" in str(error.value)
    with pytest.raises(UserError, match=r"no column '3'; the columns are 0, 1, 2"):
        list(read_table([file], {"text": "3"}, ","))
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
        "a JSON list, not an object",
        "",
        "column 'question' holds a list, not text",
        "",
        "",
    ]
    assert rows[0].example == {"source": "二加二？", "target": "4"}
    assert rows[3].example["target"] == "0.5"
    assert rows[5].example["target"] == rows[6].example["target"] == ""  # found to be empty when cleaned
