"""The demo on a model of seconds: from end to end, killed on its way, and a second time."""

import dataclasses
import os
import random
import subprocess
import sys
import time

import pytest

from apps import export
from apps.demo import QUESTIONS
from tflm.recipes import RECIPES, load_preset

ASKED = ("generate", "chat", "prefill", "decode", "resume")
"""What a chat asks of an export. `test_export` has all signatures of this one."""
# A process with few steps and signatures of tiny_chat; `small_preset` does the same in this process.
SCRIPT = """
import dataclasses, sys
from tflm.recipes import RECIPES, load_preset
config = load_preset("tiny_chat")
training = dataclasses.replace(config.training, num_steps=20, checkpoint_every=5, log_every=5)
RECIPES._things["tiny_chat"] = lambda: dataclasses.replace(config, training=training)
from apps import demo, export
whole = export.export
export.export = lambda workdir, output: whole(workdir, output, only=ASKED)
sys.exit(demo.run(sys.argv))
""".replace("ASKED", repr(ASKED))


@pytest.fixture
def small_preset(monkeypatch):
    config = load_preset("tiny_chat")
    training = dataclasses.replace(config.training, num_steps=20, checkpoint_every=5, log_every=5)
    monkeypatch.setitem(RECIPES._things, "tiny_chat", lambda: dataclasses.replace(config, training=training))
    whole = export.export
    monkeypatch.setattr(export, "export", lambda workdir, output: whole(workdir, output, only=ASKED))


@pytest.fixture
def arguments(tmp_path):
    return ["--preset=tiny_chat", f"--workdir={tmp_path}/run", f"--output={tmp_path}/models/chat/1"]


@pytest.mark.slow
def test_killed_anywhere_the_next_run_goes_on_to_the_end(
    call, checkout, arguments, tmp_path, small_preset, monkeypatch
):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not os.path.exists(tmp_path / "run"):
        time.sleep(0.01)
    delay = random.uniform(0.0, 8.0)
    time.sleep(delay)
    process.kill()
    print(f"killed {delay:.2f} s after it had begun; so far it had: {process.communicate()}")

    monkeypatch.chdir(checkout)
    first = call("demo", *arguments)
    assert first.code == 0, first.err
    for line in ("training perplexity ", "held-out perplexity ", "loss curve: ", "exported and verified: "):
        assert f"\n{line}" in f"\n{first.out}"
    for question in QUESTIONS:
        assert f"> {question}\n  " in first.out
    assert first.lines[-1].endswith(f" -m tflm chat --model={tmp_path}/models/chat")

    times = {
        path: os.stat(path).st_mtime_ns for path in (tmp_path / "run/checkpoints", tmp_path / "models/chat")
    }
    asked = []
    monkeypatch.setattr("apps.demo._converse", asked.append)
    second = call("demo", *arguments)
    assert second.code == 0, second.err
    assert "all 20 steps are done" in second.err
    assert f"already exported: {tmp_path}/models/chat/1\n" in second.out
    assert times == {path: os.stat(path).st_mtime_ns for path in times}
    assert asked == [f"{tmp_path}/models/chat/1"], "a conversation with the same export"
    assert second.lines[-1] == first.lines[-1]


@pytest.fixture
def steps(monkeypatch):
    """What the demo does, without the doing."""
    done = []
    monkeypatch.setattr("apps.train.train", lambda config, *rest: done.append(("train", config.name, *rest)))
    monkeypatch.setattr("apps.export.export", lambda *rest: done.append(("export", *rest)))
    monkeypatch.setattr("apps.demo._converse", lambda model: done.append(("converse", model)))
    monkeypatch.setattr("tflm.experiments.Experiment.open", lambda workdir: None)
    monkeypatch.setattr("tflm.experiments.export_run.is_published", lambda run, path: os.path.exists(path))
    return done


@pytest.mark.parametrize("overwrite", [False, True])
def test_overwrite_begins_again(call, arguments, tmp_path, steps, overwrite):
    workdir, output = f"{tmp_path}/run", f"{tmp_path}/models/chat/1"
    os.makedirs(output)
    (tmp_path / "models/chat/1/saved_model.pb").touch()
    assert call("demo", *arguments, f"--overwrite={str(overwrite).lower()}").code == 0
    assert os.path.exists(output) == (not overwrite)
    train, *middle, converse = steps
    assert train == ("train", "tiny_chat", workdir, overwrite)
    assert middle == ([("export", workdir, output)] if overwrite else [])
    assert converse == ("converse", output)


def test_overwrite_removes_an_export_and_nothing_else(call, arguments, tmp_path, steps):
    os.makedirs(tmp_path / "models/chat/1")
    (tmp_path / "models/chat/1/notes.txt").touch()
    call("demo", *arguments, "--overwrite")
    assert os.path.exists(tmp_path / "models/chat/1/notes.txt")


def test_wrong_usage(call, tmp_path):
    for argument, words in (
        ("--preset=tiny", "no preset 'tiny'. There are: "),
        (
            f"--output={tmp_path}/chat",
            f"--output={tmp_path}/chat: give a version too, such as {tmp_path}/chat/1.",
        ),
    ):
        done = call("demo", f"--workdir={tmp_path}/run", argument)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
    assert not os.path.exists(tmp_path / "run")
