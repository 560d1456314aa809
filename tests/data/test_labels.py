"""Labels that a model has not learned: the place of the first, and how many there are."""

import json

import pytest

from tflm.data import DataConfig, UnknownLabelError, check_labels, read_examples


def placed(tmp_path, name, content, **settings):
    (tmp_path / name).write_text(content, encoding="utf-8")
    settings = {"path": f"{tmp_path}/{name}", "source": name.split(".")[-1], "eval_fraction": 0.0, **settings}
    return read_examples(DataConfig(**settings), "train").with_places()


def test_the_line_in_the_file_and_the_counts(tmp_path):
    table = 'text,label\n"two\nlines",好\n\na,bad\nb,差\nc,bad\nd,bad\n'
    examples = list(placed(tmp_path, "甲.csv", table, text_column="text", label_column="label"))
    check_labels(examples, ["bad", "好", "差"])
    words = (
        rf"{tmp_path}/甲.csv:5: the label 'bad' is not among those of the training side: 好, 中. Found in all: "
        r"'bad' \(3\), '差' \(1\)\. Correct these rows, or add examples"
    )
    with pytest.raises(UnknownLabelError, match=words) as caught:
        check_labels(examples, ["好", "中"])
    assert caught.value.known == ["好", "中"]


def test_several_labels_and_more_kinds_than_are_shown(tmp_path):
    rows = [{"text": "a", "label": "红 |round"}, {"text": "b", "label": "|".join(f"x{n}" for n in range(7))}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    examples = list(placed(tmp_path, "a.jsonl", lines, text_column="text", label_column="label"))
    with pytest.raises(UnknownLabelError, match=r"a.jsonl:2: the label 'x0' .* and 2 others\. Correct"):
        check_labels(examples, ["红", "round"], "|")


def test_spans():
    examples = [
        ("f:1", {"text": "in York", "spans": '[[3, 7, "LOC"]]'}),
        ("f:4", {"text": "猫", "spans": '[[0, 1, "动物"]]'}),
    ]
    check_labels(examples, ["LOC", "动物"])
    with pytest.raises(
        UnknownLabelError, match=r"^f:4: the label '动物' .*: LOC\. Found in all: '动物' \(1\)"
    ):
        check_labels(examples, ["LOC"])
