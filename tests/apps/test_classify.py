"""Labels by command: single texts with one label, and pairs with several."""

import json

import pytest

from tflm.serving import connect

ROWS = [("fine film", "good"), ("很好看", "good"), ("bad film", "bad"), ("不好看", "bad")] * 3
FEW = ["training.num_steps=3", "data.source=tsv", "data.eval_fraction=0", "tokenizer.kind=byte"]
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
def single(call, tmp_path_factory):
    """One of two labels for a text."""
    columns = ["data.text_column=0", "data.label_column=1"]
    return export(call, tmp_path_factory.mktemp("single"), "films", ROWS, *columns)


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
    found = connect(single).predict("classify", {"text": TEXTS})
    done = call("classify", f"--model={single}", f"--input={file}", f"--batch_size={batch_size}")
    assert done.code == 0, done.err
    expected = [
        f"{label.decode()}\t{max(s):.4f}" for label, s in zip(found["label"], found["scores"], strict=True)
    ]
    assert done.lines == expected


def test_every_label_as_json_and_as_a_table(call, single, file):
    arguments = ("classify", f"--model={single}", f"--input={file}")
    records = [json.loads(line) for line in call(*arguments, "--format=json").lines]
    assert [record["text"] for record in records] == TEXTS
    for record in records:
        assert set(record["scores"]) == {"bad", "good"}
        assert sum(record["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert record["label"] == max(record["scores"], key=record["scores"].get)
    table = call(*arguments, "--format=tsv").lines
    assert table[0] == "text\tlabel\tscores.bad\tscores.good"
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
        assert {"text", "text_pair", "label", "scores"} == set(record)
        over = [label for label, score in record["scores"].items() if score >= 0.5]
        assert record["label"] == "|".join(over)
    done = call("classify", f"--model={pairs}", "--text=fine film")
    assert (done.code, done.err) == (2, "error: --text_pair is needed beside --text.\nTry --help.\n")


def test_a_pair_for_a_model_of_single_texts(call, single):
    done = call("classify", f"--model={single}", "--text=a", "--text_pair=b")
    assert done.code == 2
    assert "--text_pair is for a model of pairs;" in done.err


def test_a_model_that_does_not_classify(call, lstm, single):
    done = call("classify", f"--model={lstm.model}", "--text=a")
    assert done.code == 1
    assert "has no signature 'classify', which this app needs; it has " in done.err
    assert done.err.endswith("Try apps.generate.\n")
    done = call("generate", f"--model={single}", "--text=a")
    assert done.err.endswith("Try apps.classify.\n")
