"""`tflm check` over the export of a tiny classifier: the table, reports, exit codes, a server, and refusals."""

import json
import re

import pytest

from tests.apps.refusals import check
from tflm.serving.server import ModelConfig, ModelManager, Server

TEXTS = [("Fine film.", "good"), ("很好看!", "good"), ("Bad film, really.", "bad"), ("不好看", "bad")]


@pytest.fixture(scope="module")
def model(films):
    return films.model


@pytest.fixture
def data(tmp_path):
    lines = ["text\tlabel", *("\t".join(row) for row in TEXTS)]
    (tmp_path / "影评.tsv").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "影评.tsv")


@pytest.fixture
def templates(tmp_path):
    tests = [
        {"name": "any thing", "template": "{thing}很好看", "vary": "thing"},
        {"name": "praise", "template": "A fine {thing}", "label": "Good"},
        {"name": "blame", "template": "A fine {thing}", "label": "bad"},
    ]
    content = {"slots": {"thing": ["film", "电影"]}, "tests": tests}
    (tmp_path / "tests.json").write_text(json.dumps(content), encoding="utf-8")
    return str(tmp_path / "tests.json")


def test_a_table_and_a_report(call, model, data, templates, tmp_path):
    arguments = ("check", f"--model={model}", f"--data={data}", f"--templates={templates}")
    done = call(*arguments, f"--output={tmp_path}/check.json")
    assert done.code == 0, done.err
    rows = [re.split(" {2,}", line) for line in done.lines[: done.lines.index("")]]
    assert rows[0] == ["test", "expected", "cases", "failed", "rate", "95% interval", "accuracy", "after"]
    found = {row[0]: row[1:] for row in rows[1:]}
    assert found["typos"][:2] == ["invariance", "4"] and found["negation"][0] == "direction"
    assert found["chinese_punctuation"][1] == "1" and found["empty"][:3] == ["input", "9", "0"]
    assert "names" not in found and re.search("nothing to change for .*names, places,", done.err)
    assert re.search(r"^4 texts; accuracy \d+\.0%\.$", done.err, re.MULTILINE)
    praise, blame = found["praise"], found["blame"]
    assert praise[0] == "functionality" and int(praise[2]) + int(blame[2]) == 2, "one label or the other"
    record = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert done.lines[-1] == f"written: {tmp_path}/check.json" and record["num_texts"] == 4
    for each in record["tests"]:
        assert each["num_failed"] == len(each["failures"])
        if each["num_cases"]:
            assert found[each["name"]][1:3] == [str(each["num_cases"]), str(each["num_failed"])]
    again = call(*arguments, f"--output={tmp_path}/again.json")
    assert again.lines[:-1] == done.lines[:-1], "with one seed"


def test_a_page(call, model, data, tmp_path):
    done = call(
        "check", f"--model={model}", f"--data={data}", "--tests=typos", f"--output={tmp_path}/页.html"
    )
    assert done.code == 0, done.err
    page = (tmp_path / "页.html").read_text(encoding="utf-8")
    assert "typos" in page and not re.search(r"(src|href)=|https?://", page)


def test_texts_without_labels(call, model, tmp_path):
    (tmp_path / "a.txt").write_text("Fine film.\n不好看\n", encoding="utf-8")
    done = call(
        "check", f"--model={model}", f"--data={tmp_path}/a.txt", "--tests=upper_case,typos", "--examples=0"
    )
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.lines] == ["test", "upper_case", "typos"]
    assert "accuracy" not in done.out + done.err and "2 texts." in done.err


def test_a_limit_to_failures(call, model, templates):
    arguments = ("check", f"--model={model}", f"--templates={templates}", "--fail_above")
    check(call(*arguments, "1"), 0)
    error = check(call(*arguments, "0.99"), 1, "1 of 3 tests fail more often than 99.0%: ")
    assert re.search(r": (praise|blame) 100\.0%\.$", error)


def test_a_server_is_checked_as_the_folder(call, model, data):
    manager = ModelManager([ModelConfig("films", model)])
    manager.start()
    arguments = ("check", f"--data={data}", "--tests=typos,negation")
    with Server(manager, rest_port=0) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/films"
        there = call(*arguments, f"--model={url}")
    manager.stop()
    assert there.code == 0, there.err
    assert there.out == call(*arguments, f"--model={model}").out


def test_the_list(call):
    done = call("check", "--list")
    names = [line.split()[0] for line in done.lines]
    assert done.code == 0 and {"typos", "homophones", "negation", "empty"} < set(names)
    assert all(len(line.split()) > 3 for line in done.lines)


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        ("--model={model}", 2, "--data is needed: a file of texts, or --templates"),
        ("--model={model} --tests=typos --templates={data}", 2, "--tests change the texts of --data"),
        ("--model={model} --data={data} --output=a.txt", 2, "--output=a.txt must end in .json or .html"),
        ("--model={model} --data={data} --rate=0", 2, "--rate is above 0"),
        ("--model={model} --data={data} --fail_above=2", 2, "--fail_above"),
        ("--data={data}", 2, "--model is needed"),
        (
            "--model={model} --data={data} --tests=loud",
            1,
            "no perturbation 'loud'. There are: ascii_punctuation,",
        ),
        ("--model={model} --data={data} --tests=synonyms", 1, "give --synonyms=FILE"),
        ("--model={model} --data={data} --synonyms=none", 1, "cannot read --synonyms 'none': No such file"),
        ("--model={model} --data={data}.none", 1, "cannot read --data="),
        (
            "--model={model} --data={data} --text_column=review",
            1,
            "no column 'review'; the columns are text, label",
        ),
        ("--model={model} --data={data} --label_column=stars", 1, "no column 'stars'"),
        (
            "--model={model} --data={data} --label_column=text",
            1,
            "which is no label of this model; its labels are",
        ),
        ("--model={model} --templates={data}.json", 1, "cannot read --templates="),
    ],
)
def test_refusals(call, model, data, arguments, code, words):
    check(call("check", *arguments.format(model=model, data=data).split()), code, words)
