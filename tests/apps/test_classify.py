"""Labels by command: single texts with one label, and pairs with several."""

import json

import numpy as np
import pytest

from tests.apps import small_models
from tests.apps.conftest import load_once
from tests.apps.refusals import check
from tests.apps.rounded import assert_lines

ROWS = [("fine film", "good"), ("很好看", "good"), ("bad film", "bad"), ("不好看", "bad")] * 3
FEW = [
    "training.num_steps=3",
    "data.source=tsv",
    "data.eval_fraction=0",
    "tokenizer.kind=byte",
    "model.num_layers=1",
]
TEXTS = ["fine film", "不好看", "", "好 or bad\t?"]


def export(call, folder, name, rows, *settings):
    """A classifier after a few steps; the folder of its export."""
    (folder / f"{name}.tsv").write_text("\n".join("\t".join(row) for row in rows), encoding="utf-8")
    settings = [*FEW, f"data.path={folder}/{name}.tsv", *settings]
    changes = [f"--set={setting}" for setting in settings]
    done = call("train", "--preset=tiny_bert_classifier", f"--workdir={folder}/{name}", *changes)
    assert done.code == 0, done.err
    done = call("export", f"--workdir={folder}/{name}", f"--output={folder}/models/{name}")
    assert done.code == 0, done.err
    return str(folder / "models" / name)


@pytest.fixture(scope="module")
def single(films):
    """One of two labels for a text."""
    return films.model


@pytest.fixture(scope="module")
def pairs(call, tmp_path_factory):
    """Labels for a pair of texts, none or both of them too."""
    rows = [(f"{text} 1", text, labels) for text, _ in ROWS for labels in ("same|short", "short")]
    columns = ["data.text_column=0", "data.text_pair_column=1", "data.label_column=2"]
    settings = ["task.text_pair=true", "task.label_separator=|", "model.num_segments=2"]
    return export(call, tmp_path_factory.mktemp("pairs"), "pairs", rows, *columns, *settings)


@pytest.fixture
def file(tmp_path):
    """The path of a JSONL file of TEXTS."""
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "texts.jsonl")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_label_and_its_probability_a_line_in_order(call, single, file, batch_size):
    found = load_once(single).predict("classify", {"text": TEXTS})
    done = call("classify", f"--model={single}", f"--input={file}", f"--batch_size={batch_size}")
    assert done.code == 0, done.err
    expected = [
        f"{label.decode()}\t{max(s):.4f}" for label, s in zip(found["label"], found["scores"], strict=True)
    ]
    assert_lines(done.lines, expected)


def test_every_label_as_json_and_as_a_table(call, single, file):
    arguments = ("classify", f"--model={single}", f"--input={file}")
    records = [json.loads(line) for line in call(*arguments, "--format=json").lines]
    assert [record["text"] for record in records] == TEXTS
    for record in records:
        assert set(record["scores"]) == {"bad", "good"}
        assert sum(record["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert record["label"] == max(record["scores"], key=record["scores"].get)
    table = call(*arguments, "--format=tsv").lines
    assert table[0] == "text\tlabel\tscores.bad\tscores.good\ttruncated"
    assert len(table) == 1 + len(TEXTS)
    assert table[4].startswith("好 or bad ?\t")


def test_the_likeliest_labels(call, single):
    (line,) = call("classify", f"--model={single}", "--text=很好看", "--top=2").lines
    first, score, second, other = line.split("\t")
    assert {first, second} == {"bad", "good"}
    assert float(score) >= float(other)
    assert float(score) + float(other) == pytest.approx(1.0, abs=2e-4)


def test_several_labels_for_a_pair(call, pairs, tmp_path):
    (tmp_path / "pairs.txt").write_text("fine film 1\tfine film\n不好看 1\t不好看\n", encoding="utf-8")
    done = call("classify", f"--model={pairs}", f"--input={tmp_path}/pairs.txt", "--format=json")
    assert done.code == 0, done.err
    for record in map(json.loads, done.lines):
        assert {"text", "text_pair", "label", "scores", "truncated"} == set(record)
        over = [label for label, score in record["scores"].items() if score >= 0.5]
        assert record["label"] == "|".join(over)
    done = call("classify", f"--model={pairs}", "--text=fine film")
    assert (done.code, done.err) == (2, "error: --text_pair is required with --text.\nTry --help.\n")


def test_a_pair_for_a_model_of_single_texts(call, single):
    done = call("classify", f"--model={single}", "--text=a", "--text_pair=b")
    assert done.code == 2
    assert "--text_pair is for a model of pairs;" in done.err


@pytest.mark.parametrize("name", ["chat", "lstm"])
def test_labels_of_a_model_that_writes(request, call, file, name):
    """Their probabilities are those that `choose` gives the prompts; and of a chat those by which `score` has them."""
    model = request.getfixturevalue(name).model
    choices = ["good", "不好", "so so"]
    arguments = ("classify", f"--model={model}", f"--input={file}", *(f"--choices={x}" for x in choices))
    done = call(*arguments, "--format=json", "--prompt=Text: {text}\\n情感:")
    assert done.code == 0, done.err
    prompts = [f"Text: {text}\n情感:" for text in TEXTS]
    records = [json.loads(line) for line in done.lines]
    assert [record["text"] for record in records] == TEXTS
    found = load_once(model).predict("choose", {"text": prompts, "choices": [choices] * len(TEXTS)})
    for record, probabilities in zip(records, found["probabilities"].tolist(), strict=True):
        assert record["scores"] == pytest.approx(dict(zip(choices, probabilities, strict=True)))
        assert sum(record["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert record["label"] == max(record["scores"], key=record["scores"].get)
    lines = call(*arguments, "--prompt=Text: {text}\\n情感:", "--batch_size=1").lines
    assert_lines(lines, [f"{record['label']}\t{max(record['scores'].values()):.4f}" for record in records])
    table = call(*arguments, "--format=tsv").lines
    assert table[0] == "text\tlabel\tscores.good\tscores.不好\tscores.so so\ttruncated"
    if name == "chat":
        pairs = {"text": [TEXTS[0]] * 3, "target": choices}
        logarithms = load_once(model).predict("score", pairs)["log_probability"]
        expected = np.exp(logarithms) / np.exp(logarithms).sum()
        record = json.loads(call(*arguments, "--format=json").lines[0])
        assert list(record["scores"].values()) == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_likeliest_of_given_labels(call, tmp_path):
    model = small_models.save(tmp_path, "language_modeling", "generate", "choose")
    arguments = ("classify", f"--model={model}", "--text=很好看", "--choices=好", "--choices=bad")
    assert call(*arguments).out == "好\t0.7500\n"
    assert call(*arguments, "--top=2").out == "好\t0.7500\tbad\t0.2500\n"


def test_labels_that_cannot_be_given(call, single, chat, tmp_path):
    two = ("--choices=a", "--choices=b")
    for model, arguments, words in (
        (
            chat.model,
            (),
            "has learned no labels, it writes: name them, as --choices=good --choices=bad. Or try",
        ),
        (
            chat.model,
            ("--prompt={text}",),
            "--prompt is for generative models: also give --choices=LABEL for each",
        ),
        (
            chat.model,
            ("--prompt={texts}", *two),
            "--prompt='{texts}' lacks a placeholder: write {text}",
        ),
        (chat.model, ("--choices=a",), "--choices are two labels or more, each once; got a."),
        (chat.model, (*two, "--choices=a"), "--choices are two labels or more, each once; got a, b, a."),
        (chat.model, (*two, "--choices="), "--choices= is empty, and no label: give a text."),
        (chat.model, (*two, "--text_pair=b"), "--text_pair is for a model of pairs;"),
        (single, two, "has labels of its own: leave out --choices."),
    ):
        done = call("classify", f"--model={model}", "--text=x", *arguments)
        check(done, 2, words)
        assert done.out == ""
    model = small_models.save(tmp_path, "language_modeling", "generate", choose="write")
    done = call("classify", f"--model={model}", "--text=x", *two)
    check(done, 1, "its signature 'choose' gives text; this app needs choice, probabilities too.")


def test_a_model_that_does_not_classify(call, single, tmp_path):
    model = small_models.save(tmp_path, "language_modeling", "generate", "score")
    done = call("classify", f"--model={model}", "--text=a")
    assert done.code == 1
    assert "has no signature 'classify', which this app needs; it has " in done.err
    assert done.err.endswith("Try tflm generate.\n")
    done = call("generate", f"--model={single}", "--text=a")
    assert done.err.endswith("Try tflm classify.\n")
