"""data.mask_personal: every text of an example is masked, places move with it, and the counts are right."""

import json

import pytest

from tflm.config import to_dict
from tflm.data import DataConfig, read_examples
from tflm.data.config import MixtureConfig
from tflm.errors import UserError

PHONE, MAIL = "13812345678", "a@b.com"


def read(path, source="text", kinds=("all",), **fields):
    examples = read_examples(
        DataConfig(source, path, eval_fraction=0.0, mask_personal=kinds, **fields), "train"
    )
    return list(examples), dict(examples.report.masked)


def test_lines_and_labels(write):
    path = write("a.csv", f"t,y\n打{PHONE}或{MAIL},{MAIL}\nfine film,2\n")
    examples, counts = read(path, "csv", text_column="t", label_column="y")
    assert examples == [
        {"text": "打<phone>或<email>", "label": MAIL},
        {"text": "fine film", "label": "2"},
    ]
    assert counts == {"chinese_mobile": 1, "email": 1}
    examples, counts = read(path, "csv", ("email",), text_column="t", label_column="y")
    assert examples[0]["text"] == f"打{PHONE}或<email>" and counts == {"email": 1}


def test_pairs_and_messages(write):
    path = write("a.tsv", f"q\ta\nCall {PHONE}\t{MAIL}?\n")
    assert read(path, "tsv", source_column="q", target_column="a") == (
        [{"source": "Call <phone>", "target": "<email>?"}],
        {"chinese_mobile": 1, "email": 1},
    )
    messages = [{"role": "user", "content": f"我是{MAIL}"}, {"role": "assistant", "content": "好"}]
    examples, _ = read(write("a.jsonl", json.dumps({"m": messages})), "jsonl", messages_column="m")
    assert [each["content"] for each in json.loads(examples[0]["messages"])] == ["我是<email>", "好"]


def test_spans_move_with_the_text(write):
    record = {
        "text": f"{MAIL} 给 Anna 打 {PHONE}",
        "spans": [[0, 7, "MAIL"], [10, 14, "PER"], [17, 28, "TEL"]],
    }
    path = write("a.jsonl", json.dumps(record))
    ((example,), _) = read(path, "jsonl", text_column="text", spans_column="spans")
    text = example["text"]
    assert text == "<email> 给 Anna 打 <phone>"
    assert [(text[start:end], label) for start, end, label in json.loads(example["spans"])] == [
        ("<email>", "MAIL"),
        ("Anna", "PER"),
        ("<phone>", "TEL"),
    ]


def test_words_in_one_tag_are_one_word(write):
    ((example,), _) = read(write("a.txt", "写 a@b.com 。\n"), "segmented")
    assert example["text"] == "写<email>。"
    assert [span[:2] for span in json.loads(example["spans"])] == [[0, 1], [1, 8], [8, 9]]
    # The digits of a number as words of their own: 138 1234 5678.
    (split, _) = read(write("b.txt", "打 138 1234 5678 吧\n"), "segmented")
    assert split[0]["text"] == "打<phone>吧" and len(json.loads(split[0]["spans"])) == 3


def test_labels_that_meet_in_a_tag_are_refused_with_their_place(write):
    path = write("a.conll", f"{PHONE[:3]} B-A\n1234 B-B\n5678 B-B\n")
    with pytest.raises(
        UserError, match=r"a\.conll:1: personal data \(chinese_mobile\) in spans of several labels"
    ):
        read(path, "conll", max_bad_rows=0)


@pytest.mark.parametrize(
    ("answer", "expected"), [("Anna", "Anna"), ("b.com", "<email>"), ("a@b.com, Anna", None)]
)
def test_answers_move_with_the_context(write, answer, expected):
    record = {"question": f"谁是{MAIL}?", "context": f"{PHONE}: a@b.com, Anna.", "answer": answer}
    columns = {f"{name}_column": name for name in record}
    ((example,), counts) = read(write("a.jsonl", json.dumps(record)), "jsonl", **columns)
    assert example["question"] == "谁是<email>?" and example["context"] == "<phone>: <email>, Anna."
    ((start, text),) = json.loads(example["answers"])
    assert text == (expected or "<email>, Anna") and example["context"][start:].startswith(text)
    assert counts == {"chinese_mobile": 1, "email": 2}


def test_the_split_is_that_of_the_text_before(write):
    path = write("a.txt", "".join(f"{number} {MAIL[:-3]}{number}.com\n" for number in range(60)))
    for split in ("train", "eval"):
        plain, masked = (
            list(read_examples(DataConfig(path=path, eval_fraction=0.3, mask_personal=kinds), split))
            for kinds in ((), ("email",))
        )
        assert [each["text"].split()[0] for each in plain] == [each["text"].split()[0] for each in masked]
        assert {each["text"].split()[1] for each in masked} == {"<email>"}


def test_a_mixture_counts_all_sources(write):
    data = DataConfig(
        eval_fraction=0.0,
        mask_personal=("all",),
        mixture=tuple(
            MixtureConfig(write(f"{name}.txt", f"{name} {MAIL}\n"), 1.0) for name in ("one", "two")
        ),
    )
    examples = read_examples(data, "train")
    assert [each["text"] for each in examples] == ["one <email>", "two <email>"]
    assert examples.report.masked == {"email": 2}


def test_the_config():
    assert "mask_personal" not in to_dict(DataConfig(path="a.txt"))
    assert to_dict(DataConfig(path="a.txt", mask_personal=("email",)))["mask_personal"] == ["email"]
    with pytest.raises(UserError, match="mask_personal names 'mail'; it must be all, or some of"):
        DataConfig(path="a.txt", mask_personal=("mail",))
