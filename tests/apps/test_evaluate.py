"""Measures by command, and the report that they leave."""

import json
import os
import re
import shutil
import types

import pytest

from tflm.data import read_examples
from tflm.evaluation import first_sentence, rouge
from tflm.experiments import Experiment


@pytest.fixture(scope="module")
def evaluated(chat, call):
    """What `tflm evaluate` printed and the report it wrote."""
    done = call("evaluate", f"--workdir={chat.workdir}", "--limit=6", "--examples=2", "--batch_size=4")
    assert done.code == 0, done.err
    with open(f"{chat.workdir}/report.json", encoding="utf-8") as file:
        return done, json.load(file)


def test_rouge_stands_beside_the_baseline(chat, evaluated):
    done, report = evaluated
    data = Experiment.open(chat.workdir).config.data
    examples = list(read_examples(data, "eval"))[:6]
    assert [text["source"] for text in report["texts"]] == [example["source"] for example in examples]
    references = [example["target"] for example in examples]
    expected = {
        "this model": rouge(references, [text["answer"] for text in report["texts"]]),
        "source's first sentence": rouge(references, [first_sentence(x["source"]) for x in examples]),
    }
    for name, scores in expected.items():
        for kind, score in scores.items():
            assert report[name][kind] == pytest.approx(100 * score.mean())
    for kind in expected["this model"]:
        (row,) = (line for line in done.lines if line.startswith(f"{kind} ") and "difference" not in line)
        shown = [f"{100 * scores[kind].mean():.2f}" for scores in expected.values()]
        assert re.findall(r" (\d+\.\d\d) \[", row) == shown
    assert re.search(r"6 examples, \d+ tokens; 95% intervals in brackets", done.out)
    assert re.search(r"rouge: rouge-score \S+, F1, ", done.out)


def test_answers_are_those_of_the_export(chat, evaluated):
    texts = evaluated[1]["texts"]
    answers = chat.exported([t["source"] for t in texts], temperature=0.0, max_new_tokens=36)
    assert [text["answer"] for text in texts] == answers
    assert evaluated[0].out.count("source: ") == 2, "as many as --examples asks for"


def test_perplexity_is_that_of_training(chat, evaluated):
    report = evaluated[1]
    assert (report["name"], report["step"]) == ("tiny_chat", 24)
    assert report["held_out"]["num_tokens"] > 500
    assert f"perplexity {report['held_out']['perplexity']:.2f}" in evaluated[0].out


def test_a_language_model_has_perplexity(lstm, call):
    """That of the side in blocks, of an n-gram model, and that of each text by itself."""
    done = call("evaluate", f"--workdir={lstm.workdir}", "--limit=9")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("step 24, ")
    assert "gram, Kneser-Ney: perplexity " in done.out
    assert "ROUGE" not in done.out
    assert done.lines[-1] == f"report: {lstm.workdir}/report.json, {lstm.workdir}/report.md"
    with open(f"{lstm.workdir}/report.json", encoding="utf-8") as file:
        report = json.load(file)
    low, high = report["this model"]["perplexity_interval"]
    assert low < report["this model"]["perplexity"] < high
    with open(f"{lstm.workdir}/report.md", encoding="utf-8") as file:
        page = file.read()
    assert "## Best by log_probability" in page and "## By length of the text" in page


def test_the_page_has_the_measures_of_the_report(chat, evaluated):
    with open(f"{chat.workdir}/report.md", encoding="utf-8") as file:
        page = file.read()
    model = evaluated[1]["this model"]
    low, high = model["rougeL_interval"]
    assert f"{model['rougeL']:.2f} [{low:.2f}, {high:.2f}]" in page
    assert page.startswith("# tiny_chat, step 24, eval side\n")
    assert "## By length of the source" in page and "## Worst by rougeL" in page


def test_the_tokenizer_of_bleu(chat, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run")
    arguments = (f"--workdir={tmp_path}/run", "--limit=3", "--examples=0", "--bleu_tokenizer=char")
    done = call("evaluate", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "--bleu_tokenizer is for a task whose measure is bleu; this model's is not" in done.err
    config = json.loads((tmp_path / "run/config.json").read_text(encoding="utf-8"))
    config["task"]["measure"] = "bleu"
    (tmp_path / "run/config.json").write_text(json.dumps(config), encoding="utf-8")
    done = call("evaluate", *arguments)
    assert done.code == 0, done.err
    assert "|tok:char|" in done.out
    assert "|tok:char|" in (tmp_path / "run/report.md").read_text(encoding="utf-8")


def test_against_another_run(chat, evaluated, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run")
    arguments = (f"--workdir={tmp_path}/run", "--step=16", "--limit=6", "--batch_size=4", "--examples=0")
    done = call("evaluate", *arguments, f"--against={chat.workdir}")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("step 16, ") and "source: " not in done.out, "of another checkpoint"
    (line,) = (line for line in done.lines if line.startswith("rougeL ") and "difference" in line)
    with open(tmp_path / "run/report.json", encoding="utf-8") as file:
        found = json.load(file)["against"]
    assert found["other"] == pytest.approx(evaluated[1]["this model"]["rougeL"], abs=0.01)
    assert f", of {chat.workdir} {found['other']:.2f}: difference {found['difference']:+.2f} [" in line
    assert f"Against {chat.workdir}: rougeL " in (tmp_path / "run/report.md").read_text(encoding="utf-8")
    done = call("evaluate", *arguments, f"--against={tmp_path}")
    assert done.code == 1
    assert "Measure that one first, by the same command." in done.err


def test_refusals(lstm, call, tmp_path):
    for arguments, code, words in (
        ([], 2, "--workdir is needed: the folder of a run; or --model, an export. Give one of them."),
        ([f"--workdir={lstm.workdir}", f"--model={lstm.model}"], 2, "Give one of them."),
        ([f"--model={lstm.model}"], 2, "--output is required with --model: the folder for the report."),
        ([f"--model={lstm.model}", f"--output={tmp_path}", "--step=3"], 2, "--step is for --workdir; "),
        ([f"--workdir={lstm.workdir}", "--data=x.txt"], 2, "--output is required with --data, so that"),
        (
            [f"--model={lstm.model}", f"--output={tmp_path}", "--set=task.kind=pairs"],
            2,
            "--set task.kind=pairs: only how the data is read can be set here, as data.FIELD=VALUE.",
        ),
        ([f"--workdir={tmp_path}"], 1, "holds no run: there is no config.json. `tflm train` makes one."),
        ([f"--workdir={lstm.workdir}", "--step=3"], 1, "no checkpoint of step 3 in "),
        ([f"--workdir={lstm.workdir}", "--step=3"], 1, "; available steps: 24."),
        (
            [f"--workdir={lstm.workdir}", "--limit=-1"],
            2,
            "flag --limit=-1: -1 is not a non-negative integer",
        ),
    ):
        done = call("evaluate", *arguments)
        assert (done.code, done.out) == (code, "")
        assert words in done.err


def test_a_run_without_a_held_out_side(lstm, call, tmp_path):
    shutil.copytree(lstm.workdir, tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text(encoding="utf-8"))
    config["data"]["eval_fraction"] = 0.0
    (tmp_path / "run/config.json").write_text(json.dumps(config), encoding="utf-8")
    done = call("evaluate", f"--workdir={tmp_path}/run")
    assert done.code == 1
    assert "has no held-out side: data.eval_fraction is 0." in done.err


ROWS = [("fine film", "good"), ("很好看", "good"), ("bad film", "bad"), ("不好看", "bad")] * 5


@pytest.fixture(scope="module")
def labels(call, tmp_path_factory):
    """A classifier's run and its export, after a few steps."""
    folder = tmp_path_factory.mktemp("labels")
    (folder / "train.tsv").write_text("\n".join("\t".join(row) for row in ROWS), encoding="utf-8")
    settings = [
        "data.source=tsv",
        "data.text_column=0",
        "data.label_column=1",
        f"data.path={folder}/train.tsv",
    ]
    settings += [f"data.eval_path={folder}/train.tsv"]
    return _trained(call, folder, "tiny_bert_classifier", settings)


def _trained(call, folder, preset, settings):
    settings = (*settings, "training.num_steps=3", "tokenizer.kind=byte", "model.num_layers=1")
    changes = [f"--set={setting}" for setting in settings]
    for arguments in (
        ("train", f"--preset={preset}", f"--workdir={folder}/run", *changes),
        ("export", f"--workdir={folder}/run", f"--output={folder}/model"),
    ):
        done = call(*arguments)
        assert done.code == 0, done.err
    return types.SimpleNamespace(workdir=f"{folder}/run", model=f"{folder}/model")


@pytest.mark.parametrize("name", ["labels", "lstm"])
def test_a_run_and_its_export_get_the_same_figures(request, call, name, tmp_path):
    """Classification and a language model; `test_whole_way` has the figures of the others."""
    found = request.getfixturevalue(name)
    common = ["--limit=12", "--examples=1", "--batch_size=5", "--nobaseline"]
    reports = []
    for source in (f"--workdir={found.workdir}", f"--model={found.model}"):
        output = str(tmp_path / source[2:5])
        against = [f"--against={tmp_path}/wor"] if reports else []
        done = call("evaluate", source, f"--output={output}", *common, *against)
        assert done.code == 0, done.err
        with open(f"{output}/report.json", encoding="utf-8") as file:
            reports.append(json.load(file))
    run, export = reports
    _assert_near(run["this model"], export["this model"])
    assert export["num_parameters"] == run["num_parameters"]
    assert export["step"] == run["step"]
    for one, other in zip(run["texts"], export["texts"], strict=True):
        assert one.get("answer") == other.get("answer")
    assert export["against"]["difference"] == pytest.approx(0.0, abs=1e-3)
    assert export["texts_per_second"] > 0
    written = sum(
        os.path.getsize(os.path.join(r, f)) for r, _, files in os.walk(export["model"]) for f in files
    )
    assert export["size_bytes"] == written
    page = (tmp_path / "mod/report.md").read_text(encoding="utf-8")
    assert f"{written / 1e6:,.1f} MB on disk." in page and f"Against {tmp_path}/wor: " in page
    assert (tmp_path / "mod/confusion.png").exists() == (name == "labels")


def _assert_near(one, other):
    assert set(one) == set(other)
    for key, value in one.items():
        if isinstance(value, dict):
            _assert_near(value, other[key])
        else:
            assert other[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


def test_a_file_of_its_own(labels, call, tmp_path):
    """Columns as the run has them; or found by their names, and by --set."""
    (tmp_path / "plain.tsv").write_text("fine film\tgood\nbad\tbad\n", encoding="utf-8")
    rows = [
        {"body": "fine film", "label": "good"},
        {"body": "不好看", "label": "bad"},
        {"body": "x", "label": "bad"},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "named.jsonl").write_text(lines, encoding="utf-8")
    model = (f"--model={labels.model}", f"--output={tmp_path}/out")
    for arguments, count in (
        ((f"--data={tmp_path}/plain.tsv",), 2),
        ((f"--data={tmp_path}/named.jsonl", "--set=data.text_column=body"), 3),
    ):
        done = call("evaluate", *model, *arguments)
        assert done.code == 0, done.err
        assert done.lines[0] == f"tiny_bert_classifier, step 3, on {arguments[0][7:]}"
        report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
        assert (report["split"], len(report["texts"])) == ("data", count)
    done = call("evaluate", *model, f"--data={tmp_path}/named.jsonl")
    assert done.code == 2 and "which column is the text? They are body, label." in done.err
    done = call("evaluate", *model, f"--data={tmp_path}/none.tsv")
    assert done.code == 1 and "name another by --data=FILE." in done.err
    done = call(
        "evaluate", f"--workdir={labels.workdir}", f"--output={tmp_path}/own", f"--data={tmp_path}/plain.tsv"
    )
    assert done.code == 0, done.err
    assert "held_out" not in json.loads((tmp_path / "own/report.json").read_text(encoding="utf-8"))


def test_exports_that_are_not_measured(labels, call, tmp_path):
    shutil.copytree(f"{labels.model}/1", tmp_path / "model/1")
    path = tmp_path / "model/1/config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["task"] = {"kind": "masked_language_modeling"}
    path.write_text(json.dumps(config), encoding="utf-8")
    arguments = ("evaluate", f"--model={tmp_path}/model", f"--output={tmp_path}/out")
    done = call(*arguments)
    assert done.code == 1
    assert "this model's is masked_language_modeling. Measure its run by --workdir." in done.err
    path.write_text("{}", encoding="utf-8")
    shutil.move(tmp_path / "model", tmp_path / "other")
    done = call("evaluate", f"--model={tmp_path}/other", f"--output={tmp_path}/out")
    assert done.code == 1 and "has no config.json that says what it was trained for" in done.err
