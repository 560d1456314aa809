"""Training by command: what it prints, how it goes on, what it refuses."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.apps import refusals
from tflm.config import load_json
from tflm.experiments import ExperimentConfig
from tflm.recipes import RECIPES
from tflm.training import read_log


def test_a_run_says_what_it_does_and_leaves_what_it_promises(chat):
    assert chat.training.code == 0, chat.training.err
    assert "tiny_chat: 228,672 parameters, vocabulary of 2,000, 24 steps of 32 rows" in chat.training.err
    lines = chat.training.out.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["training", "held-out", "loss"]
    assert 20 < float(lines[0].split()[2]) < 1500, "learned something, of 2,000 pieces"
    assert lines[2] == f"loss curve: {chat.workdir}/loss.png"
    there = {"config.json", "tokenizer", "data", "checkpoints", "log.jsonl", "tensorboard", "loss.png"}
    assert set(os.listdir(chat.workdir)) >= there
    with open(f"{chat.workdir}/loss.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_the_log_and_the_resolved_config(chat):
    records = read_log(chat.workdir)
    assert [record["step"] for record in records if "loss" in record] == [6, 8, 12, 16, 18, 24]
    assert records[0]["loss"] > records[-2]["loss"]
    assert "eval_perplexity" in records[-1]
    config = load_json(ExperimentConfig, f"{chat.workdir}/config.json")
    assert (config.training.num_steps, config.training.checkpoint_every) == (24, 8)


def test_a_finished_run_is_not_trained_again(lstm, call):
    before = {name: os.stat(f"{lstm.workdir}/{name}").st_mtime_ns for name in ("checkpoints", "log.jsonl")}
    done = call("train", *lstm.train_arguments)
    assert done.code == 0
    assert "all 24 steps are done; --overwrite begins again." in done.err
    assert done.out == lstm.training.out, "the same perplexities"
    after = {name: os.stat(f"{lstm.workdir}/{name}").st_mtime_ns for name in before}
    assert before == after


def test_a_run_is_taken_up_by_its_folder_alone(lstm, call):
    assert "all 24 steps are done" in call("train", f"--workdir={lstm.workdir}").err


def test_another_config_is_refused_and_the_fields_are_named(lstm, call):
    done = call("train", *lstm.train_arguments, "--set=model.num_layers=2", "--set=data.eval_fraction=0.5")
    assert done.code == 1
    assert "holds a run with another config: data.eval_fraction was 0.05, is 0.5; " in done.err
    assert "model.num_layers was 1, is 2. Give another --workdir, or --overwrite to begin again." in done.err
    assert os.path.isdir(f"{lstm.workdir}/checkpoints/step_00000024")


KILLED_AT_ITS_FIRST_CHECKPOINT = """
import os, signal, sys
from apps import train
from tflm.training.checkpoint import Checkpoints
save = Checkpoints.save
Checkpoints.save = lambda *arguments: (save(*arguments), arguments[0].wait(), os.kill(os.getpid(), signal.SIGKILL))
sys.exit(train.run(["train", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(chat, call, tmp_path, checkout):
    arguments = [a.replace(chat.workdir, str(tmp_path / "run")) for a in chat.train_arguments]
    command = [sys.executable, "-c", KILLED_AT_ITS_FIRST_CHECKPOINT, *arguments]
    done = subprocess.run(command, cwd=checkout, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert os.listdir(tmp_path / "run/checkpoints") == ["step_00000008"]
    done = call("train", *arguments)
    assert done.code == 0, done.err
    assert "resuming from step " in done.err
    losses, unbroken = (
        {record["step"]: record["loss"] for record in read_log(workdir) if "loss" in record}
        for workdir in (str(tmp_path / "run"), chat.workdir)
    )
    assert losses.keys() == unbroken.keys()
    assert losses[24] == pytest.approx(unbroken[24], rel=1e-5)


@pytest.mark.slow
def test_a_dry_run_goes_the_whole_way_and_leaves_nothing(call, tmp_path, monkeypatch):
    lines = ["text\tlabel", *(f"word {n} 好\t{'坏' if n % 2 else 'a'}" for n in range(30))]
    (tmp_path / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TFLM_CACHE", str(tmp_path / "cache"))
    sets = (
        "tokenizer.kind=byte",
        "model.embedding_dim=8",
        "model.hidden_dim=8",
        "training.global_batch_size=4",
    )
    arguments = [
        "--task=classification",
        f"--data={tmp_path}/labels.tsv",
        *(f"--set={each}" for each in sets),
    ]
    done = call("train", *arguments, "--dry_run")
    assert done.code == 0, done.err
    last = done.lines[-1]
    assert last.startswith("dry run: trained one step, exported ")
    assert last.endswith(" MB, verified; nothing is left behind.")
    # AutoGraph keeps the code of what it converted until the process ends.
    left = os.listdir(tmp_path / "temporary")
    assert [name for name in left if not name.startswith("__autograph_generated")] == []
    assert sorted(os.listdir(tmp_path)) == ["labels.tsv", "temporary"]


def test_list_presets_shows_each_with_its_docstring(call):
    done = call("train", "--list_presets")
    assert done.code == 0
    for name in RECIPES.names():
        assert f"{name}: {inspect.getdoc(RECIPES.get(name))}\n" in done.out


def test_print_config_shows_the_resolved_config(call, tmp_path):
    arguments = ("--preset=tiny_chat", f"--workdir={tmp_path}/run", "--print_config")
    done = call("train", *arguments, "--set=training.num_steps=7", '--set=data.languages=["chinese"]')
    assert done.code == 0
    config = json.loads(done.out)
    assert (config["training"]["num_steps"], config["data"]["languages"]) == (7, ["chinese"])
    assert not os.path.exists(tmp_path / "run")


def test_a_run_begins_with_the_weights_of_an_export(decoder, call, tmp_path):
    """It says what it took, and what of it trains; taken up by the same command, it says neither again."""
    (tmp_path / "poem.txt").write_text("床前明月光\nThe moon before my bed\n" * 20, encoding="utf-8")
    settings = (
        "training.num_steps=2",
        "data.eval_fraction=0",
        "fine_tuning.freeze=layers:1",
        f"data.path={tmp_path}/poem.txt",
    )
    arguments = [
        f"--workdir={tmp_path}/run",
        f"--init_from={decoder.model}",
        *(f"--set={s}" for s in settings),
    ]
    done = call("train", "--preset=tiny_decoder", *arguments)
    assert done.code == 0, done.err
    first, second = done.err.splitlines()[:2]
    assert first == f"initial weights from {decoder.model}: 20 matched, 0 new, 0 left"
    assert second.startswith(
        "tiny_decoder: 117,376 parameters (67,008 frozen), vocabulary of 261, 2 steps of 16 rows"
    )
    again = call("train", "--preset=tiny_decoder", *arguments)
    assert again.code == 0 and "all 2 steps are done" in again.err and "initial weights" not in again.err
    other = call("train", "--preset=tiny_decoder", *arguments[:1], *arguments[2:])
    assert other.code == 1 and f"another config: init_from was '{decoder.model}', is ''" in other.err


def test_weights_that_do_not_fit_are_refused_before_anything_is_made(decoder, call, tmp_path):
    done = call(
        "train",
        "--preset=tiny_decoder",
        f"--workdir={tmp_path}/run",
        f"--init_from={decoder.workdir}",
        "--set=model.num_layers=3",
    )
    assert (done.code, done.out) == (1, "")
    assert "model.num_layers is 2 there and 3 here. To take it: --set model.num_layers=2" in done.err
    assert not os.path.exists(tmp_path / "run")


USAGE = {
    "no preset": ([], "--preset or --task is needed; --list_presets shows the recipes."),
    "a preset and a task": (
        ["--preset=tiny_gpt", "--task=classification", "--data=a.tsv"],
        "--preset and --task both choose the recipe: give one of them.",
    ),
    "a task without data": (["--task=classification"], "--task and --data belong together"),
    "data without a task": (["--preset=tiny_gpt", "--data=a.tsv"], "--task and --data belong together"),
    "an unknown preset": (["--preset=tiny"], "no preset 'tiny'. There are: bert_small, "),
    "no workdir": (["--preset=tiny_lstm"], "--workdir is needed: the folder of the run"),
    "a new workdir alone": (["--workdir={tmp}/new"], "--preset is needed to begin a run in "),
    "an unknown flag": (["--presets=x"], "Unknown command line flag 'presets'. Did you mean: preset"),
    "an unknown strategy": (
        ["--preset=tiny_lstm", "--workdir={tmp}/new", "--strategy=gpu"],
        "--strategy is one of auto, one_device, mirrored, multi_worker, tpu; got 'gpu'.",
    ),
}
USAGE |= {
    f"what looks at it: {flag}": (["--preset=tiny_lstm", "--workdir={tmp}/观察", flag], words)
    for flag, words in (
        (
            "--profile=五:六",
            "--profile is FIRST:LAST, such as 100:110 for the steps 101 to 110; got '五:六'.",
        ),
        ("--profile=290:310", "the training has 300 steps. Choose earlier ones, such as --profile=290:300."),
        ("--energy=Deutschland", "--energy is the ISO 3166 code of a country in three letters"),
        ("--tracker=mlfow", "value should be one of <mlflow|swanlab|wandb>"),
    )
}
FAILURES = {
    "a misspelt field": ("training.num_step=5", "Did you mean training.num_steps?"),
    "a misspelt section": ("trainin.num_steps=5", "Did you mean training?"),
    "no equals sign": ("training.num_steps", "has no '='. Write it as section.field=value."),
    "not a number": ("training.num_steps=many", "training.num_steps takes int; got 'many'."),
    "a value out of range": ("training.num_steps=0", "num_steps is at least 1; got 0."),
    "no such file": ("data.path={tmp}/none.txt", "no file matches"),
}


@pytest.mark.parametrize("arguments, words", USAGE.values(), ids=USAGE)
def test_wrong_usage(call, tmp_path, arguments, words):
    done = call("train", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and words in done.err and done.err.endswith("Try --help.\n")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("assignment, words", FAILURES.values(), ids=FAILURES)
def test_wrong_settings(call, tmp_path, assignment, words):
    assignment = assignment.format(tmp=tmp_path)
    done = call("train", "--preset=tiny_lstm", f"--workdir={tmp_path}/run", f"--set={assignment}")
    assert (done.code, done.out) == (1, "")
    assert words in done.err and "Traceback" not in done.err


def test_a_folder_with_something_else_in_it_is_refused_whole(call, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for overwrite in ("--nooverwrite", "--overwrite"):
        done = call("train", "--preset=tiny_lstm", f"--workdir={tmp_path}", overwrite)
        assert done.code == 1
        assert "is not empty and holds no run. Give a folder of its own." in done.err
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_file_in_place_of_the_folder(call, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = call("train", "--preset=tiny_lstm", f"--workdir={tmp_path}/file")
    assert done.code == 1
    assert f"cannot make the folder '{tmp_path}/file': File exists." in done.err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--workers=a:1,b:1"], "needs --worker_index"),
        (["--workers=a:1,b:1", "--worker_index=5"], "--worker_index is from 0 to 1 for 2 workers; got 5"),
        (["--workers=a,b:1", "--worker_index=0"], "a worker is HOST:PORT, such as 127.0.0.1:2222; got 'a'"),
        (["--worker_index=0"], "--worker_index=0 needs --workers"),
        (["--strategy=multi_worker"], "--strategy=multi_worker needs the workers"),
        (["--tpu=none", "--strategy=mirrored"], "--tpu=none is for --strategy=tpu"),
        (["--workers=a:1,b:1", "--worker_index=0", "--dry_run"], "--dry_run trains in one process"),
    ],
)
def test_wrong_workers_are_said_and_leave_no_folder(call, tmp_path, arguments, words):
    done = call("train", "--preset=tiny_decoder", f"--workdir={tmp_path / 'run'}", *arguments)
    refusals.check(done, 2, words)
    assert not (tmp_path / "run").exists()


def test_a_wrong_tf_config_is_said(call, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    done = call("train", "--preset=tiny_decoder", f"--workdir={tmp_path / 'run'}")
    refusals.check(done, 2, "TF_CONFIG is not JSON")


def test_several_files_are_a_mixture(call, tmp_path, monkeypatch):
    """And a flag says where tokenised data is kept, and how many processes tokenise."""
    monkeypatch.setenv("TFLM_CACHE", "unused")  # restored at the end, and so is the other
    monkeypatch.setenv("TFLM_DATA_WORKERS", "1")
    (tmp_path / "诗.txt").write_text("\n".join(f"第{n}行诗，春眠不觉晓" for n in range(60)), encoding="utf-8")
    news = "\n".join(json.dumps({"text": f"News number {n} of the day"}) for n in range(60))
    (tmp_path / "news.jsonl").write_text(news, encoding="utf-8")
    data = [f"--data={tmp_path}/诗.txt@0.7", f"--data={tmp_path}/news.jsonl@0.3"]
    small = [
        f"--set={setting}"
        for setting in (
            *("model.num_layers=1", "model.hidden_dim=16", "model.num_heads=2", "model.max_length=16"),
            *("tokenizer.kind=byte", "training.num_steps=2", "training.warmup_steps=1"),
        )
    ]
    cache = f"--store_cache={tmp_path}/cache"
    done = call(
        "train",
        "--task=language_modeling",
        *data,
        *small,
        cache,
        f"--workdir={tmp_path}/run",
        "--data_workers=1",
    )
    assert done.code == 0, done.err
    assert "mixture: 诗 70.0% (" in done.err
    assert "诗 loss " in done.err and "news loss " in done.err
    assert len(os.listdir(tmp_path / "cache")) == 4, "two sources with two sides each"
    report = call("evaluate", f"--workdir={tmp_path}/run", "--limit=2", "--nobaseline")
    assert re.search(r"^  诗: perplexity \d.*\n  news: perplexity \d", report.out, re.MULTILINE), report.out
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Source 诗: loss " in page and "Source news: loss " in page
    refusals_of = call("train", "--task=language_modeling", data[0], f"--data={tmp_path}/news.jsonl")
    assert (refusals_of.code, "and each has a weight" in refusals_of.err) == (2, True)
