"""Answers by command: the likeliest and the next, with places and thresholds; from a model with random weights."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.answer import NO_ANSWER
from tests.apps.rounded import assert_lines
from tflm.config import to_dict
from tflm.export.write import write_export
from tflm.models import TransformerEncoderConfig, build_model
from tflm.tasks.question_answering import QuestionAnswering, QuestionAnsweringConfig
from tflm.text import TokenizerConfig, train_tokenizer

CORPUS = ["Who lives in Paris? Anna lives in Paris.", "谁在北京？王小明在北京大学读书。"] * 3
ITEMS = [
    ("Who is in Paris?", "Anna\nsaw 王小明 in Paris"),
    ("谁在北京？", "我爱北京😀 e\u0301"),
    ("", ""),
    ("Where?", "Bob is in Rome and Anna in Paris. " * 4),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of an export whose model was never trained, and its signatures in memory."""
    tokenizer = train_tokenizer(TokenizerConfig(vocab_size=290, special_tokens=("separator",)), CORPUS)
    config = QuestionAnsweringConfig(
        num_answers=3, max_question_length=12, max_answer_length=6, threshold=0.3
    )
    task = QuestionAnswering(config, tokenizer, 40)
    body = TransformerEncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=40
    )
    keras.utils.set_random_seed(3)
    model = task.model_for(build_model(body))
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0.0, 0.5, variable.shape))
    signatures = task.signatures(model)
    path = write_export(
        signatures,
        [model, tokenizer],
        str(tmp_path_factory.mktemp("questions") / "model"),
        requests=task.example_requests(),
        card={"What it is": "Random weights. 随机权重。"},
        files={"config.json": json.dumps({"task": to_dict(config)})},
    )
    return path, signatures


@pytest.fixture
def file(tmp_path):
    """The path of a JSONL file of ITEMS."""
    lines = [json.dumps({"question": question, "context": context}) for question, context in ITEMS]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "a.jsonl")


def in_memory(signatures, threshold):
    columns = [tf.constant(column) for column in zip(*ITEMS)]
    found = signatures["answer"](*columns, tf.fill([len(ITEMS)], threshold))
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize(("threshold", "batch_size"), [(0.3, 1), (0.3, 3), (-1000.0, 8), (1000.0, 8)])
def test_an_answer_and_its_probability_a_line_in_order(call, exported, file, threshold, batch_size):
    path, signatures = exported
    found = in_memory(signatures, threshold)
    more = [] if threshold == 0.3 else [f"--threshold={threshold}"]  # else the model's own
    done = call("answer", f"--model={path}", f"--input={file}", f"--batch_size={batch_size}", *more)
    assert done.code == 0, done.err
    expected = [
        f"{' '.join(answer.decode().split()) or NO_ANSWER}\t{score:.4f}"
        for answer, score in zip(found["answer"], found["score"])
    ]
    assert_lines(done.lines, expected)
    assert expected[2] == "(no answer)\t1.0000"
    if abs(threshold) == 1000.0:
        assert [line.startswith(NO_ANSWER) for line in done.lines] == [
            threshold > 0,
            threshold > 0,
            True,
            threshold > 0,
        ]


def test_places_and_the_next_likeliest_as_json(call, exported, file):
    path, signatures = exported
    done = call(
        "answer",
        f"--model={path}",
        f"--input={file}",
        "--format=json",
        "--num_answers=3",
        "--threshold=-1000",
    )
    assert done.code == 0, done.err
    records, found = [json.loads(line) for line in done.lines], in_memory(signatures, -1000.0)
    assert [(record["question"], record["context"]) for record in records] == ITEMS
    for row, record in enumerate(records):
        assert record["margin"] == pytest.approx(float(found["margin"][row]), rel=1e-4)
        first, *others = record["answers"]
        assert {key: record[key] for key in ("answer", "start", "end", "score")} == first
        assert [one["score"] for one in others] == sorted((one["score"] for one in others), reverse=True)
        for one in record["answers"]:
            assert one["answer"] == (
                record["context"][one["start"] : one["end"]] if one["start"] >= 0 else ""
            )
        spans = [(one["start"], one["end"]) for one in record["answers"] if one["start"] >= 0]
        assert spans == list(zip(found["starts"][row].tolist(), found["ends"][row].tolist()))[: len(spans)]
    assert len(records[0]["answers"]) == 3 and len(records[2]["answers"]) == 1
    (line,) = call("answer", f"--model={path}", "--question=Who?", "--context=Anna", "--num_answers=2").lines
    cells = line.split("\t")
    assert all(answer == NO_ANSWER or answer in "Anna" for answer in cells[::2]) and len(cells) == 4
    assert 0 < float(cells[1]) <= 1 and 0 < float(cells[3]) <= 1


def test_tables_and_surrogates(call, exported, tmp_path):
    (tmp_path / "a.tsv").write_text("q\tcontext\nWho?\tAnna\n", encoding="utf-8")
    done = call(
        "answer", f"--model={exported[0]}", f"--input={tmp_path}/a.tsv", "--question_column=q", "--format=tsv"
    )
    assert done.code == 0, done.err
    assert done.lines[0] == "question\tcontext\tanswer\tstart\tend\tscore\tmargin\tanswers\ttruncated"
    (tmp_path / "a.jsonl").write_text('{"question": "\\ud800?", "context": "\\ud800Anna"}', encoding="utf-8")
    (line,) = call("answer", f"--model={exported[0]}", f"--input={tmp_path}/a.jsonl").lines
    assert (line,) == tuple(
        call("answer", f"--model={exported[0]}", "--question=\ufffd?", "--context=\ufffdAnna").lines
    )


def test_wrong_usage(call, exported):
    path, _ = exported
    done = call("answer", f"--model={path}", "--question=Who?")
    assert (done.code, done.err) == (2, "error: --context is required with --question.\nTry --help.\n")
    done = call("answer", f"--model={path}", "--question=Who?", "--context=Anna", "--num_answers=4")
    assert (done.code, "--num_answers=4: this model gives 3 at most." in done.err) == (2, True)
    done = call("answer", "--question=Who?", "--context=Anna")
    assert (done.code, "--model is needed" in done.err) == (2, True)


def test_the_help_shows_how(call):
    assert call("answer", "--help").out.count("\n  tflm answer ") >= 3
