"""Measures by command, and the report that they leave."""

import json
import shutil

import pytest

from tflm.data import read_examples
from tflm.evaluation import first_sentence, rouge
from tflm.presets import Experiment


@pytest.fixture(scope="module")
def evaluated(chat, call):
    """What `apps.evaluate` printed and the report it wrote."""
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
        (line,) = (line for line in done.lines if line.startswith(name))
        assert line.split()[-3:] == [f"{100 * score.mean():.2f}" for score in scores.values()]
    assert "6 held-out pairs" in done.out and "ROUGE-1  ROUGE-2  ROUGE-L" in done.out


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


def test_a_language_model_has_perplexity_alone(lstm, call):
    done = call("evaluate", f"--workdir={lstm.workdir}")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("step 24, ")
    assert "ROUGE" not in done.out
    assert done.lines[-1] == f"report: {lstm.workdir}/report.json, {lstm.workdir}/report.md"


def test_the_page_has_the_measures_of_the_report(chat, evaluated):
    with open(f"{chat.workdir}/report.md", encoding="utf-8") as file:
        page = file.read()
    model = evaluated[1]["this model"]
    low, high = model["rougeL_interval"]
    assert f"{model['rougeL']:.2f} [{low:.2f}, {high:.2f}]" in page
    assert page.startswith("# tiny_chat, step 24, eval side\n")
    assert "## By length of the source" in page and "## Worst by rougeL" in page


def test_against_another_run(chat, evaluated, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run")
    arguments = (f"--workdir={tmp_path}/run", "--step=16", "--limit=6", "--batch_size=4", "--examples=0")
    done = call("evaluate", *arguments, f"--against={chat.workdir}")
    assert done.code == 0, done.err
    (line,) = (line for line in done.lines if line.startswith("rougeL "))
    with open(tmp_path / "run/report.json", encoding="utf-8") as file:
        found = json.load(file)["against"]
    assert found["other"] == pytest.approx(evaluated[1]["this model"]["rougeL"], abs=0.01)
    assert f", of {chat.workdir} {found['other']:.2f}: difference {found['difference']:+.2f} [" in line
    assert f"Against {chat.workdir}: rougeL " in (tmp_path / "run/report.md").read_text(encoding="utf-8")
    done = call("evaluate", *arguments, f"--against={tmp_path}")
    assert done.code == 1
    assert "Measure that run first, by the same command." in done.err


def test_another_checkpoint(chat, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run")
    done = call("evaluate", f"--workdir={tmp_path}/run", "--step=16", "--limit=1", "--examples=0")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("step 16, ")
    assert "source: " not in done.out


def test_refusals(lstm, call, tmp_path):
    for arguments, code, words in (
        ([], 2, "--workdir is needed: the folder of a run."),
        ([f"--workdir={tmp_path}"], 1, "holds no run: there is no config.json. `apps.train` makes one."),
        ([f"--workdir={lstm.workdir}", "--step=3"], 1, "no checkpoint of step 3 in "),
        ([f"--workdir={lstm.workdir}", "--step=3"], 1, "; there are: 24."),
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
