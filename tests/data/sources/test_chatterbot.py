import importlib.util

import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources import chatterbot
from tflm.data.sources.chatterbot import pair_turns, read_chatterbot
from tflm.errors import UserError

YAML = """categories:
- tests
conversations:
- - 你好
  - 你好！
- - Hello
  - Hi there
  - 42
- - Hello
  - Hi there
- a line that is no conversation
- - Are you a robot?
  - yes
- - silence
  -
"""


@pytest.fixture
def corpus(write, tmp_path, monkeypatch):
    write("corpus/english/conversations.yml", YAML)
    write("corpus/english/emotion.yml", YAML)
    write("corpus/chinese/ai.yml", "conversations: [[你是谁, 我是机器人]]")
    monkeypatch.setattr(chatterbot, "_corpus_folder", lambda: tmp_path / "corpus")


def test_pairs_are_turns_that_follow_each_other_once_each(corpus):
    rows = list(read_chatterbot(("english", "chinese")))
    assert [tuple(row.example.values()) for row in rows if row.example] == [
        ("你好", "你好！"),
        ("Hello", "Hi there"),
        ("Hi there", "42"),  # a number is text
        ("Are you a robot?", "True"),  # so is what YAML takes for a truth value
        ("silence", ""),
        ("Hello", "42"),  # emotion: each further turn answers the first
        ("你是谁", "我是机器人"),
    ]
    assert [row.problem for row in rows if row.problem] == ["a conversation of less than two turns"] * 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- 你好\n- hello\n", r"b\.yml is no file of the chatterbot corpus: it has no list 'conversations'"),
        ("conversations: 5\n", "it has no list 'conversations'"),
        ("", "it has no list 'conversations'"),
        ("conversations: [[a, b]\n", r"b\.yml is not YAML: .* line"),
        ("conversations: [[你, b]]\n".encode("utf-16-le"), r"b\.yml looks like UTF-16-LE"),
    ],
)
def test_files_of_other_forms(corpus, write, content, words):
    write("corpus/english/b.yml", content)
    with pytest.raises(UserError, match=words):
        list(read_chatterbot(("english",)))


def test_labelled_questions_once_for_each_label(corpus):
    rows = list(read_chatterbot(("english", "chinese"), label_column="topic"))
    assert [tuple(row.example.values()) for row in rows if row.example] == [
        ("你好", "conversations"),
        ("Hello", "conversations"),
        ("Hi there", "conversations"),
        ("Are you a robot?", "conversations"),
        ("silence", "conversations"),
        ("你好", "emotion"),
        ("Hello", "emotion"),
        ("Are you a robot?", "emotion"),
        ("silence", "emotion"),
        ("你是谁", "ai"),
    ]
    rows = list(read_chatterbot(("english", "chinese"), label_column="language"))
    labels = [row.example["label"] for row in rows if row.example]
    assert labels == ["english"] * 5 + ["chinese"]
    assert [row.problem for row in rows if row.problem] == ["a conversation of less than two turns"] * 2


def test_dialogues_stand_on_the_side_of_their_question(corpus):
    rows = [row for row in read_chatterbot(("english",), text_column="dialogue") if row.example]
    assert rows[1].example == {"text": "Hello\nHi there"}
    assert [row.key for row in rows[:3]] == ["你好", "Hello", "Hi there"]
    labelled = next(read_chatterbot(("chinese",), "dialogue", "topic"))
    assert labelled.example == {"text": "你是谁\n我是机器人", "label": "ai"}


def test_a_repeated_question_is_no_answer():
    assert pair_turns(["q", "a", "q", "b"], "literature") == [("q", "a"), ("q", "b")]


def test_an_unknown_language(corpus):
    with pytest.raises(
        UserError, match="no language 'chinees', only chinese, english; did you mean 'chinese'"
    ):
        list(read_chatterbot(("english", "chinees")))


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tflm\[demo\]'"):
        list(read_chatterbot(("english",)))


def test_the_real_corpus():
    pytest.importorskip("chatterbot_corpus", reason="needs chatterbot-corpus: pip install 'tflm[demo]'")
    examples = read_examples(DataConfig("chatterbot", eval_fraction=0.0), "train")
    pairs = {(e["source"], e["target"]) for e in examples}
    assert len(pairs) == examples.report.num_examples > 1500
    assert examples.report.num_bad <= 5
    topics = read_examples(DataConfig("chatterbot", label_column="topic", test_fraction=0.2), "train")
    assert len({example["label"] for example in topics}) > 15
    assert ("My system is overheating.", "Ensure air vents aren't blocked and clean any dust.") in pairs
    assert ("什么是ai", "人工智能是工程和科学的分支,致力于构建具有思维的机器。") in pairs
    assert all(isinstance(s, str) and s and isinstance(t, str) and t for s, t in pairs)
