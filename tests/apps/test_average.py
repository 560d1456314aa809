"""`tflm average`, and `--checkpoint` of the commands that take one."""

import json
import shutil

import numpy as np
import pytest

from tflm.training.checkpoint_files import stored_weights


@pytest.fixture
def run(chat, tmp_path):
    """A copy of a run with the checkpoints of steps 16 and 24, of which the first is recorded as the best."""
    shutil.copytree(chat.workdir, tmp_path / "平均")
    best = {"step": 16, "measure": "loss", "value": 2.5}
    (tmp_path / "平均/checkpoints/best.json").write_text(json.dumps(best), encoding="utf-8")
    return tmp_path / "平均"


def test_an_average_is_evaluated_and_exported(run, call, tmp_path, monkeypatch):
    written = {}
    monkeypatch.setattr(
        "tflm.experiments.export_run.write_export",
        lambda *arguments, card, files, **rest: written.update(files, card=card) or f"{tmp_path}/m/1",
    )
    done = call("average", f"--workdir={run}", "--last=2")
    assert (done.code, done.out) == (0, f"averaged 16, 24: {run}/checkpoints/average\n")
    parts = [
        stored_weights(f"{run}/checkpoints/{name}") for name in ("step_00000016", "step_00000024", "average")
    ]
    for name, weight in parts[2].items():
        if np.asarray(weight).dtype == np.float32:
            mean = (np.asarray(parts[0][name], np.float64) + np.asarray(parts[1][name], np.float64)) / 2
            np.testing.assert_array_equal(np.asarray(weight), mean.astype(np.float32), err_msg=name)
    again = call("average", f"--workdir={run}", "--steps=24,16")
    assert again.out == done.out
    flags = (f"--workdir={run}", f"--output={tmp_path}/report", "--limit=1", "--examples=0", "--nobaseline")
    done = call("evaluate", *flags, "--checkpoint=average")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("step 24 (average of the checkpoints of steps 16, 24), ")
    flags = (f"--workdir={run}", f"--output={tmp_path}/m", "--signatures=score", "--nodeploy")
    assert call("export", *flags, "--checkpoint=best").code == 0
    source = {"run": "tiny_chat", "step": 16, "checkpoint": "best checkpoint by held-out loss (2.5)"}
    assert json.loads(written["config.json"])["source"] == source
    assert written["card"]["What it is"].endswith("after 16 steps: best checkpoint by held-out loss (2.5).")


@pytest.mark.parametrize(
    "command, arguments, code, words",
    [
        ("average", ["--last=3"], 1, "3 checkpoints are needed; "),
        ("average", ["--last=3"], 1, "has 2 (steps 16, 24). Train with a larger training.keep_checkpoints"),
        ("average", ["--steps=16,17"], 1, "no checkpoint of step 17 in "),
        ("average", ["--steps=16,二"], 2, "--steps is a list of numbers, such as 100,200,300; got '二'."),
        ("average", ["--steps=16"], 2, "--steps=16 is one checkpoint; an average is of at least 2."),
        ("average", ["--steps=16,24", "--last=2"], 2, "--last and --steps both choose the checkpoints"),
        ("export", ["--checkpoint=average", "--output=m"], 1, "there is no average in "),
        ("export", ["--checkpoint=ema", "--output=m"], 1, "Train with training.ema_decay=0.999"),
        (
            "export",
            ["--checkpoint=最好", "--output=m"],
            2,
            "--checkpoint is newest, best, average, ema or a step",
        ),
        (
            "export",
            ["--checkpoint=best", "--step=16", "--output=m"],
            2,
            "--step and --checkpoint both choose",
        ),
        ("evaluate", ["--checkpoint=17"], 1, "no checkpoint of step 17 in "),
    ],
)
def test_what_is_refused(run, call, command, arguments, code, words):
    done = call(command, f"--workdir={run}", *arguments)
    assert done.code == code and words in done.err, done.err


def test_without_a_run(call, tmp_path):
    done = call("average")
    assert done.code == 2 and "--workdir is needed." in done.err
    done = call("average", f"--workdir={tmp_path}")
    assert done.code == 1 and "holds no run" in done.err
