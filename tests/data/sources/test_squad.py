"""Questions and their answers from JSON of several forms, and what becomes of wrong offsets."""

import json

import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.squad import question_row, read_question_lines, read_squad
from tflm.errors import UserError


def article(title, *paragraphs):
    return {
        "title": title,
        "paragraphs": [{"context": text, "qas": list(asked)} for text, *asked in paragraphs],
    }


WHO = {
    "question": "Who?",
    "answers": [{"text": "Anna", "answer_start": 7}, {"text": "Anna.", "answer_start": 7}],
}
WHEN = {"question": "When?", "answers": [], "is_impossible": True, "plausible_answers": [{"text": "was"}]}
WHERE = {"question": "在哪？", "id": "1", "answers": [{"id": "1", "text": "北京", "answer_start": 3}]}
ENGLISH, CHINESE = "It was Anna.", "我们在北京，在北京"


def examples(rows):
    return [(row.example["question"], json.loads(row.example["answers"])) for row in rows]


def test_squad_and_drcd(write):
    data = {"version": "v2", "data": [article("A", (ENGLISH, WHO, WHEN)), article("B", (CHINESE, WHERE))]}
    rows = list(read_squad([write("a.json", json.dumps(data, ensure_ascii=False))]))
    assert examples(rows) == [
        ("Who?", [[7, "Anna"], [7, "Anna."]]),
        ("When?", []),
        ("在哪？", [[3, "北京"]]),
    ]
    assert [row.example["context"] for row in rows] == [ENGLISH, ENGLISH, CHINESE]
    assert [row.key for row in rows] == ["A", "A", "B"]
    data["data"][1]["title"] = "A"  # titles say nothing then
    rows = list(read_squad([write("b.json.gz", json.dumps(data))]))
    assert [row.key for row in rows] == [ENGLISH, ENGLISH, CHINESE]


def test_the_form_of_cmrc(write):
    paragraph = {
        "context_id": "T_0",
        "context_text": CHINESE,
        "qas": [{"query_id": "T_0_Q0", "query_text": "在哪？", "answers": ["北京", "在北京", "南京"]}],
        "title": "x",
    }
    rows = list(read_squad([write("a.json", json.dumps([paragraph], ensure_ascii=False))]))
    assert examples(rows) == [("在哪？", [[3, "北京"], [2, "在北京"], [-1, "南京"]])]


def test_json_lines(write):
    records = [
        {"q": "Who?", "c": ENGLISH, "a": "Anna", "at": 7},
        {"q": "When?", "c": ENGLISH, "a": None},
        {"q": "When?", "c": ENGLISH, "a": ""},
        {"q": "在哪？", "c": CHINESE, "a": ["北京", "我们"]},
        {"q": "在哪？", "c": CHINESE, "a": {"text": ["北京"], "answer_start": [7]}},
        {"q": "在哪？", "c": CHINESE, "a": {"text": [], "answer_start": []}},
        {"q": "Who?", "c": ENGLISH, "a": 7},
        {"q": "Who?", "c": 7, "a": "Anna"},
    ]
    path = write("a.jsonl", "\n".join(json.dumps(record) for record in records))
    columns = {"question": "q", "context": "c", "answer": "a", "answer_start": "at"}
    rows = list(read_question_lines([path], columns))
    assert examples(rows[:6]) == [
        ("Who?", [[7, "Anna"]]),
        ("When?", []),
        ("When?", []),
        ("在哪？", [[3, "北京"], [0, "我们"]]),
        ("在哪？", [[7, "北京"]]),
        ("在哪？", []),
    ]
    assert [(row.line, row.problem) for row in rows[6:]] == [
        (7, "column 'a' is not an answer or a list of answers"),
        (8, "a question or a context that is not text"),
    ]
    config = DataConfig(
        "jsonl",
        path,
        question_column="q",
        context_column="c",
        answer_column="a",
        eval_fraction=0.0,
        max_bad_rows=3,
    )
    found = list(read_examples(config, "train"))
    assert len(found) == 6
    assert found[0] == {"question": "Who?", "context": ENGLISH, "answers": '[[7, "Anna"]]'}


@pytest.mark.parametrize(
    ("context", "start", "text", "wanted"),
    [
        (ENGLISH, 6, "Anna", 7),
        (ENGLISH, 99, "Anna", 7),
        (ENGLISH, -5, "Anna", 7),
        ("an, an, an", 5, "an", 4),
        ("an, an, an", 7, "an", 8),
        (" \ufeff\u3000It was Anna. ", 10, "Anna", 7),
        ("\ufeff" + CHINESE, 4, "北京", 3),
        (ENGLISH, 6, " Anna ", 7),
    ],
)
def test_offsets_are_mended(context, start, text, wanted):
    row = question_row("f", 1, "Who?", context, [(start, text)])
    assert json.loads(row.example["answers"]) == [[wanted, text.strip()]]


def test_mended_offsets_are_counted_and_others_are_bad(write, caplog):
    wrong = {"question": "Who was?", "answers": [{"text": "Anna", "answer_start": 6}]}
    absent = {"question": "Who else?", "answers": [{"text": "Bob", "answer_start": 7}]}
    blank = {"question": "Who?", "answers": [{"text": " ", "answer_start": 2}]}
    path = write("a.json", json.dumps({"data": [article("A", (ENGLISH, wrong, absent, blank, WHO))]}))
    config = DataConfig("squad", path, eval_fraction=0.0, max_bad_rows=2)
    for _ in range(2):
        found = read_examples(config, "train")
        assert [example["question"] for example in found] == ["Who was?", "Who?"]
    assert found.report.bad_rows == {
        "an answer that is not in the context": 1,
        "an answer of spaces alone": 1,
    }
    text = "1 answers are not at their answer_start and were found elsewhere in the context; the first is"
    assert caplog.text.count(text) == 1


def test_files_of_other_forms(write):
    with pytest.raises(
        UserError, match=r"a\.json is not JSON \(line 2: .*\); expected \{\"data\".*JSON lines are"
    ):
        list(read_squad([write("a.json", '{"data": 1}\n{"data": 2}')]))
    for content in ('{"questions": []}', '[{"context": "a"}]', '"text"', "[1]"):
        with pytest.raises(UserError, match=r"b\.json has another format \(.*\); expected"):
            list(read_squad([write("b.json", content)]))


@pytest.mark.parametrize("content", ["9" * 5000, "[" * 100_000])
def test_json_that_cannot_be_read(write, content):
    with pytest.raises(UserError, match=r"a\.json is not valid JSON \(nested too deeply, or a number"):
        list(read_squad([write("a.json", content)]))


@pytest.mark.parametrize(
    "answers", [[{"text": 5, "answer_start": 7}], [{"text": "Anna", "answer_start": "x"}], [{"text": None}]]
)
def test_answers_of_another_form_are_bad_and_not_none(write, answers):
    wrong = {"question": "谁?", "answers": answers}
    path = write("a.json", json.dumps({"data": [article("A", (ENGLISH, wrong, WHO))]}))
    assert [row.problem for row in read_squad([path])] == ["answers that are not texts with starts", ""]
    old = {"query_text": "谁?", "answers": answers}
    path = write("b.json", json.dumps([{"context_text": ENGLISH, "qas": [old]}]))
    assert [row.problem for row in read_squad([path])] == ["answers that are not texts with starts"]


@pytest.mark.parametrize(("start", "wanted"), [(8, 8), (8.0, 8), ("8", 8), (None, 0), ("", 0)])
def test_starts_as_tables_have_them(write, start, wanted):
    record = {"q": "谁?", "c": "Anna or Anna?", "a": "Anna", "s": start}
    columns = {"question": "q", "context": "c", "answer": "a", "answer_start": "s"}
    (row,) = read_question_lines([write("a.jsonl", json.dumps(record))], columns)
    assert json.loads(row.example["answers"]) == [[wanted, "Anna"]]


@pytest.mark.parametrize("value", [0, False, 1945, True])
def test_a_number_is_no_missing_answer(write, value):
    record = {"q": "How many?", "c": "0 of 1945", "a": value}
    (row,) = read_question_lines(
        [write("a.jsonl", json.dumps(record))], {"question": "q", "context": "c", "answer": "a"}
    )
    assert row.problem == "column 'a' is not an answer or a list of answers"


def test_columns():
    with pytest.raises(
        UserError, match="source 'squad' has no columns; leave the column fields empty; got answer"
    ):
        DataConfig("squad", "a.json", answer_column="a")
    with pytest.raises(UserError, match="source 'jsonl' needs text_column"):
        DataConfig("jsonl", "a.jsonl", question_column="q", answer_column="a")


def test_an_answer_in_nfc_is_found_in_a_context_in_nfd_and_the_other_way_round():
    nfd, nfc = "Zoe\u0301", "Zoé"
    for context, answer in ((f"I saw {nfd}.", nfc), (f"I saw {nfc}.", nfd)):
        row = question_row("f", 1, "Who?", context, [(None, answer)])
        ((start, text),) = json.loads(row.example["answers"])
        assert start == 6 and text == context[6:-1] and not row.problem
    assert (
        question_row("f", 1, "谁？", "北京", [(None, nfc)]).problem == "an answer that is not in the context"
    )
