"""Conversations in JSON lines: what is kept of them, and what is wrong with bad ones."""

import json

import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.messages import read_messages


def write(path, *conversations):
    path.write_text(
        "".join(f"{json.dumps({'messages': each}, ensure_ascii=False)}\n" for each in conversations),
        encoding="utf-8",
    )
    return [str(path)]


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def test_good_ones(tmp_path):
    files = write(
        tmp_path / "a.jsonl",
        [message("user", "你是谁"), message("assistant", "一个程序。 ", weight=1)],
        [message("system", "Be brief."), message("user", "Hi"), message("assistant", "Hello")],
    )
    first, second = read_messages(files, "messages")
    assert json.loads(first.example["messages"]) == [
        message("user", "你是谁"),
        message("assistant", "一个程序。"),
    ]
    assert (first.key, second.key, second.line) == ("你是谁", "Hi", 2)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("text", "not a list of messages"),
        ([], "not a list of messages"),
        (["text"], 'a message that is not {"role": ..., "content": text}'),
        ([message("user", 3)], 'a message that is not {"role": ..., "content": text}'),
        ([message("tool", "x")], "a role that is not one of system, user, assistant"),
        ([message("user", " ")], "an empty message"),
        ([message("user", "x")], "a conversation that does not end with the assistant"),
        ([message("assistant", "x")], "a conversation without the user"),
    ],
)
def test_bad_ones(tmp_path, messages, problem):
    [row] = read_messages(write(tmp_path / "a.jsonl", messages), "messages")
    assert row.problem == problem and not row.example


def test_through_the_config(tmp_path):
    conversations = [[message("user", f"问{i}"), message("assistant", f"答{i}")] for i in range(40)]
    write(tmp_path / "a.jsonl", *conversations)
    config = DataConfig(
        source="jsonl", path=f"{tmp_path}/a.jsonl", messages_column="messages", eval_fraction=0.3
    )
    sides = [[json.loads(e["messages"]) for e in read_examples(config, split)] for split in ("train", "eval")]
    assert sorted(sides[0] + sides[1], key=str) == sorted(conversations, key=str) and all(sides)
