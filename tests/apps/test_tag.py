"""Spans by command: names of two labels, and words; from models with random weights that find something."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.export.audit import text_ops_in
from tflm.export.write import write_export
from tflm.models import TransformerEncoderConfig, build_model
from tflm.serving import connect
from tflm.serving.handle.outputs import divide
from tflm.serving.handle.results import Span
from tflm.tasks.tagging import Tagging, TaggingConfig
from tflm.text import TokenizerConfig, train_tokenizer

CORPUS = [
    "Anna lives in Paris.",
    "王小明在北京大学读书。",
    "the quick brown fox",
    "我用 TensorFlow 训练模型",
] * 3
TEXTS = ["Anna saw 王小明 in Paris", "我爱北京😀", "", "a\tb e\u0301 in 北京"]


def span(start, end):
    return Span(start, end, "word", 1.0, "")


def export(folder, labels, tokenizer_config):
    """The folder of an export whose model was never trained."""
    tokenizer = train_tokenizer(tokenizer_config, CORPUS)
    task = Tagging(TaggingConfig(), tokenizer, 64, labels)
    body = TransformerEncoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=64
    )
    keras.utils.set_random_seed(3)
    model = task.model_for(build_model(body))
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0.0, 0.7, variable.shape))
    path = write_export(
        task.signatures(model),
        [model, tokenizer],
        str(folder / "model"),
        requests=task.example_requests(),
        card={"What it is": "A tagger with random weights. 随机权重。"},
        files={"config.json": "{}"},
    )
    return path, task.signatures(model)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Two labels over SentencePiece; the folder, and the signatures in memory."""
    return export(tmp_path_factory.mktemp("names"), ["LOC", "PER"], TokenizerConfig(vocab_size=303))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Words, over characters."""
    config = TokenizerConfig(kind="character", vocab_size=330)
    return export(tmp_path_factory.mktemp("words"), ["word"], config)[0]


@pytest.fixture
def file(tmp_path):
    """The path of a JSONL file of TEXTS."""
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "texts.jsonl")


def spans_in_memory(signatures, text):
    found = {name: value.numpy()[0] for name, value in signatures["tag"](tf.constant([text])).items()}
    parts = zip(found["start"], found["end"], found["label"])
    return [(int(start), int(end), label.decode()) for start, end, label in parts][: found["num_spans"]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_spans_a_line_in_order(call, names, file, batch_size):
    path, signatures = names
    done = call("tag", f"--model={path}", f"--input={file}", f"--batch_size={batch_size}")
    assert done.code == 0, done.err
    expected = []
    for text in TEXTS:
        spans = " ".join(f"{start}-{end}:{label}" for start, end, label in spans_in_memory(signatures, text))
        expected.append(f"{text}\t{spans}".replace("a\tb", "a b"))
    assert done.lines == expected
    assert "PER" in done.out and "LOC" in done.out


def test_spans_as_json(call, names, file):
    path, signatures = names
    records = [
        json.loads(line) for line in call("tag", f"--model={path}", f"--input={file}", "--format=json").lines
    ]
    assert [record["text"] for record in records] == TEXTS
    for record in records:
        spans = record["spans"]
        assert [(span["start"], span["end"], span["label"]) for span in spans] == spans_in_memory(
            signatures, record["text"]
        )
        assert all(span["text"] == record["text"][span["start"] : span["end"]] for span in spans)
        assert all(0 < span["score"] <= 1 for span in spans)
    (record,) = map(json.loads, call("tag", f"--model={path}", "--text=北京 😀", "--format=json").lines)
    assert list(record) == ["text", "spans"]


def test_a_lone_surrogate_is_one_character(call, names, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud800Anna 北京"}', encoding="utf-8")
    (line,) = call("tag", f"--model={names[0]}", f"--input={tmp_path}/a.jsonl").lines
    (same,) = call("tag", f"--model={names[0]}", "--text=\ufffdAnna 北京").lines
    assert line == same


def test_words_with_spaces_between(call, words, file):
    done = call("tag", f"--model={words}", f"--input={file}", "--segment")
    assert done.code == 0, done.err
    records = [
        json.loads(line)
        for line in call("tag", f"--model={words}", f"--input={file}", "--segment", "--format=json").lines
    ]
    assert done.lines == [record["segmented"] for record in records]
    for record in records:
        spans = [span(each["start"], each["end"]) for each in record["spans"]]
        assert " ".join(divide(record["text"], spans)) == record["segmented"]
    assert ["".join(line.split()) for line in done.lines] == ["".join(text.split()) for text in TEXTS]
    assert any(line != text for line, text in zip(done.lines, TEXTS))


def test_pieces_between_spans():
    spans = [span(0, 1), span(2, 4), span(7, 11)]
    assert divide("我爱北京，我 very 好", spans) == ["我", "爱", "北京", "，我", "very", "好"]
    assert divide("", []) == []
    assert divide("无 spans", []) == ["无 spans"]


def test_an_export_over_characters_needs_core_ops_alone(words, names):
    assert text_ops_in(words) == ()
    assert "SentencepieceTokenizeWithOffsetsOp" in text_ops_in(names[0])
    outputs = connect(names[0]).signatures["tag"].outputs
    assert outputs == {
        "start": "int32",
        "end": "int32",
        "label": "string",
        "score": "float32",
        "num_spans": "int32",
    }


def test_wrong_usage(call, lstm):
    done = call("tag", "--text=a")
    assert (done.code, "--model is needed" in done.err) == (2, True)
    done = call("tag", f"--model={lstm.model}", "--text=a")
    assert done.code == 1
    assert "has no signature 'tag', which this app needs" in done.err


def test_the_help_shows_how(call):
    shown = call("tag", "--help").out
    assert shown.count("\n  tflm tag ") >= 3
