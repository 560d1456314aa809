"""Long texts by command: told once, with the first place and how many; and in JSON."""

import json
import types

import pytest

from apps.chat import _Talk
from apps.common.cut_texts import CutTexts, what_was_cut
from apps.common.items import Item, Printer
from tests.apps import small_models
from tests.apps.test_classify import ROWS, export


def test_the_first_place_and_how_many_once(capsys):
    cut = CutTexts({"task": {"kind": "classification"}, "model": {"max_length": 1256}})
    cut.tell()
    assert capsys.readouterr().err == ""
    cut.count("a.tsv, line 2", [{"truncated": False}])
    cut.count("a.tsv, line 3", [{"truncated": False}, {"truncated": True}])
    cut.count("a.tsv, line 4", [{"truncated": True}])
    cut.count("a.tsv, line 5", [{"label": "of an older export"}])
    cut.tell()
    assert capsys.readouterr().err == (
        "a.tsv, line 3: the text is longer than the model reads (1,256 tokens); its end was left out. "
        "2 of 4 texts were cut.\n"
    )


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            {"kind": "language_modeling"},
            "the text is longer than the model reads (64 tokens); its beginning was",
        ),
        ({"kind": "pairs", "max_source_length": 24, "keep_source": "start"}, " (24 tokens); its end was"),
        ({"kind": "pairs", "max_source_length": 24, "keep_source": "end"}, " (24 tokens); its beginning was"),
        ({"kind": "denoising", "objective": "prefix_lm"}, " (64 tokens); its beginning was left out."),
        (
            {"kind": "question_answering", "max_question_length": 32},
            "the question is longer than the model reads (32",
        ),
        ({"kind": "chat"}, "; a part of it was left out."),
        ({}, "; a part of it was left out."),
    ],
)
def test_what_was_cut(task, words):
    assert words in what_was_cut({"task": task, "model": {"max_length": 64}})


def test_a_config_that_says_nothing():
    assert what_was_cut({}) == "the text is longer than the model reads; a part of it was left out."


@pytest.fixture(scope="module")
def classifier(call, tmp_path_factory):
    """Reads 14 bytes of a text."""
    columns = ["data.text_column=0", "data.label_column=1", "model.max_length=16"]
    return export(call, tmp_path_factory.mktemp("short"), "films", ROWS, *columns)


def test_a_classifier(call, classifier, tmp_path):
    texts = ["good", "a film that is long and bad", "很好看", "这部电影很好看，质量也很好"]
    (tmp_path / "a.txt").write_text("\n".join(texts), encoding="utf-8")
    arguments = ("classify", f"--model={classifier}", f"--input={tmp_path}/a.txt")
    done = call(*arguments, "--batch_size=2")
    assert done.code == 0 and len(done.lines) == 4
    assert done.err == (
        f"{tmp_path}/a.txt, line 2: the text is longer than the model reads (16 tokens); its end was left out. "
        "2 of 4 texts were cut.\n"
    )
    done = call(*arguments, "--format=json")
    assert [json.loads(line)["truncated"] for line in done.lines] == [False, True, False, True]
    assert call("classify", f"--model={classifier}", "--text=很好看").err == ""


def test_an_evaluation_says_how_many(call, classifier, tmp_path):
    rows = ["text\tlabel", "a film that is long and bad\tbad", "好\tgood", "很好看，质量也很好\tgood"]
    (tmp_path / "a.tsv").write_text("\n".join(rows), encoding="utf-8")
    report = tmp_path / "report"
    data = (f"--data={tmp_path}/a.tsv", "--set=data.text_column=text", "--set=data.label_column=label")
    done = call("evaluate", f"--model={classifier}", *data, "--nobaseline", f"--output={report}")
    assert done.code == 0, done.err
    assert "2 of 3 examples are longer than the model reads: the measures are of the part" in done.err
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["num_truncated"] == 2
    assert "2 of the texts are longer than the model reads" in (report / "report.md").read_text(
        encoding="utf-8"
    )


def test_a_translation(call, pairs):
    """Of a model that reads 24 bytes of a source."""
    for text, is_long in (("Hello 你好", False), ("一二三四五六七八九", True)):
        done = call("translate", f"--model={pairs.model}", f"--text={text}", "--format=json")
        assert json.loads(done.out)["truncated"] == is_long, done.err
        assert (
            "the command line: the text is longer than the model reads (24 tokens)" in done.err
        ) == is_long


def test_an_export_that_does_not_say(call, tmp_path):
    model = small_models.save(tmp_path, "classification", "classify")
    done = call("classify", f"--model={model}", f"--text={'长' * 5000}", "--format=json")
    assert (done.code, done.err) == (0, "")
    assert "truncated" not in json.loads(done.out)


def test_a_chat_tells_it_once(capsys):
    """A warning where one message alone is too long; where earlier messages are left out, their number."""
    conversation = types.SimpleNamespace(
        ask=lambda question: "好.", truncated=True, num_left_out=0, remembers=True
    )
    config = {"task": {"kind": "chat"}}
    talk = _Talk(conversation, Printer("json", str), config, streams=False, at_terminal=False)
    talk.go_on(Item(f"line {number}", {"text": "很长" * 99}) for number in (1, 2))
    out, err = capsys.readouterr()
    assert err == "(the text is longer than the model reads; a part of it was left out)\n"
    records = [json.loads(line) for line in out.splitlines()]
    assert [(each["answer"], each["truncated"]) for each in records] == [("好.", True)] * 2
    conversation.truncated, conversation.num_left_out = None, 2
    talk.go_on(iter([Item("line 3", {"text": "hello"})]))
    out, err = capsys.readouterr()
    assert err == "(2 of the oldest messages no longer fit)\n"
    assert "truncated" not in json.loads(out)
