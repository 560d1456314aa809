"""Runs side by side by command: the table, its numbers, the files, and what is refused."""

import json
import math
import shutil

import numpy as np
import pytest

from tflm.config import to_dict
from tflm.evaluation import NgramModel, evaluate
from tflm.experiments import Experiment
from tflm.training import read_log


def cells(line):
    """Those of a row of the table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(done):
    """Run's name to column's name to what stands there."""
    lines = [line for line in done.lines if line.startswith("|")]
    header, _, *rows = (cells(line) for line in lines)
    return {row[0]: dict(zip(header, row)) for row in rows}


@pytest.fixture(scope="module")
def compared(lstm, decoder, call, tmp_path_factory):
    """A comparison of two language models over the same bytes with a 3-gram model, and its record."""
    output = tmp_path_factory.mktemp("comparison") / "new"
    done = call("compare", lstm.workdir, decoder.workdir, "--ngram=3", f"--output={output}")
    assert done.code == 0, done.err
    return done, json.loads((output / "comparison.json").read_text(encoding="utf-8")), output


def test_the_measures_are_those_of_an_evaluation(compared, lstm, decoder):
    for row, run in zip(compared[1]["runs"], (lstm, decoder)):
        experiment = Experiment.open(run.workdir)
        model, step = experiment.trained_model()
        expected = evaluate(experiment.task, model, experiment.batches("eval", training=False))
        loss = row["measures"]["loss"]
        assert loss["mean"] == pytest.approx(expected["loss"], rel=1e-5)
        assert loss["low"] < loss["mean"] < loss["high"]
        assert row["measures"]["perplexity"]["mean"] == pytest.approx(expected["perplexity"], rel=1e-4)
        held_out = experiment.store("eval").values("token_ids")
        num_bytes = np.count_nonzero(held_out >= experiment.tokenizer.first_byte_id)
        bits = loss["mean"] * (len(held_out) - 1) / num_bytes / math.log(2)
        assert row["measures"]["bits_per_byte"]["mean"] == pytest.approx(bits, rel=1e-9)
        assert (row["steps"], row["num_parameters"]) == (step, model.num_parameters())


def test_the_cost_is_that_of_the_log(compared, lstm):
    row, last = compared[1]["runs"][0], [r for r in read_log(lstm.workdir) if "loss" in r][-1]
    assert (row["tokens"], row["seconds"]) == (last["tokens"], last["seconds"])
    assert row["tokens"] == 24 * 16 * 64, "steps, rows, tokens of a row"


def test_the_ngram_model_has_the_same_tokens(compared, lstm):
    experiment, row = Experiment.open(lstm.workdir), compared[1]["runs"][2]
    train, held_out = (experiment.store(split).values("token_ids") for split in ("train", "eval"))
    model = NgramModel.train(train, experiment.tokenizer.vocab_size, 3)
    expected = -model.log_probabilities(held_out)[1:].mean()
    assert row["measures"]["loss"]["mean"] == pytest.approx(expected, rel=1e-9)
    assert (row["name"], row["model"], row["num_parameters"]) == (
        "3-gram",
        "kneser_ney",
        model.num_parameters,
    )


def test_differences_are_to_the_first(compared):
    first, *others = (row["measures"] for row in compared[1]["runs"])
    assert "loss_vs_first" not in first
    for measures in others:
        difference = measures["loss"]["mean"] - first["loss"]["mean"]
        assert measures["loss_vs_first"]["mean"] == pytest.approx(difference, abs=1e-5)


def test_the_table_and_the_files(compared):
    done, record, output = compared
    assert (output / "comparison.md").read_text(encoding="utf-8").rstrip("\n") == done.out.rstrip("\n")
    assert (output / "comparison.png").stat().st_size > 10_000
    rows = table(done)
    assert list(rows) == ["tiny_lstm", "tiny_decoder", "3-gram"]
    loss = record["runs"][0]["measures"]["loss"]
    assert rows["tiny_lstm"]["loss"] == "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**loss)
    assert rows["tiny_lstm"]["loss vs first"] == "–" != rows["3-gram"]["loss vs first"]
    assert "95% bootstrap intervals over the held-out side." in done.out
    assert record["notes"] == [], "the same data, the same bytes"


def test_quickly_and_over_different_tasks(lstm, chat, call):
    done = call("compare", lstm.workdir, chat.workdir, "--quick")
    assert done.code == 0, done.err
    assert "evaluating" not in done.err
    rows = table(done)
    for name, run in (("tiny_lstm", lstm), ("tiny_chat", chat)):
        last = [record for record in read_log(run.workdir) if "eval_loss" in record][-1]
        assert float(rows[name]["loss"]) == pytest.approx(last["eval_loss"], rel=1e-3)
        assert float(rows[name]["bits per byte"]) > 0
    for words in ("different tasks", "The held-out side of tiny_chat", "The tokenizer of tiny_chat"):
        assert words in done.out


def test_pairs_are_measured_over_their_targets(chat, call):
    done = call("compare", chat.workdir)
    assert done.code == 0, done.err
    experiment = Experiment.open(chat.workdir)
    expected = evaluate(
        experiment.task, experiment.trained_model()[0], experiment.batches("eval", training=False)
    )
    shown = float(table(done)["tiny_chat"]["loss"].partition(" [")[0])
    assert shown == pytest.approx(expected["loss"], abs=1e-3)


def test_reports_of_this_step_alone(chat, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run")
    for step, shown in ((24, True), (8, False)):
        report = {"step": step, "this model": {"rouge1": 12.5, "rouge1_interval": [10.0, 15.0]}}
        (tmp_path / "run/report.json").write_text(json.dumps(report), encoding="utf-8")
        done = call("compare", f"{tmp_path}/run", "--quick")
        assert ("12.50 [10.00, 15.00]" in done.out) is shown
        told = f"run: report.json is of step 8; `tflm evaluate --workdir={tmp_path}/run` measures step 24."
        assert (told in done.out) is not shown


def test_runs_of_one_name_and_another_tokenizer(lstm, call, tmp_path):
    shutil.copytree(lstm.workdir, tmp_path / "tiny_lstm")
    with open(tmp_path / "tiny_lstm/tokenizer/tokenizer.json", "a", encoding="utf-8") as file:
        file.write("\n")
    done = call("compare", lstm.workdir, f"--run={tmp_path}/tiny_lstm", "--quick", "--ngram=2")
    assert done.code == 0, done.err
    assert set(table(done)) == {lstm.workdir, f"{tmp_path}/tiny_lstm", "2-gram"}
    assert f"The tokenizer of {tmp_path}/tiny_lstm is not that of {lstm.workdir}" in done.out


def test_refusals(lstm, chat, call, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for arguments, code, words in (
        ([], 2, "the folders of the runs are needed: tflm compare RUN RUN ..."),
        ([str(tmp_path)], 1, "holds no run: there is no config.json. `tflm train` makes one."),
        ([lstm.workdir, "--x=time"], 2, "flag --x=time"),
        (
            [chat.workdir, lstm.workdir, "--ngram=3"],
            1,
            "is 'chat'. Leave it out, or name a run of language_modeling",
        ),
        ([lstm.workdir, "--quick", f"--output={tmp_path}/file/x"], 1, "cannot write into --output="),
    ):
        done = call("compare", *arguments)
        assert done.code == code, done.err
        assert words in done.err


def test_a_run_that_cannot_be_compared(lstm, call, tmp_path):
    shutil.copytree(lstm.workdir, tmp_path / "run")
    (tmp_path / "run/log.jsonl").unlink()
    done = call("compare", f"{tmp_path}/run")
    assert done.code == 1
    assert f"has no steps yet. `tflm train --workdir={tmp_path}/run` first." in done.err
    config = to_dict(Experiment.open(lstm.workdir).config)
    config["data"]["eval_fraction"] = 0.0
    (tmp_path / "run/config.json").write_text(json.dumps(config), encoding="utf-8")
    done = call("compare", f"{tmp_path}/run")
    assert done.code == 1
    assert "has no held-out side: data.eval_fraction is 0." in done.err
