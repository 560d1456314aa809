"""A study: trials that are runs, interrupted and continued, pruned, failed, exported."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import signal

import pytest

import tflm.training.trainer as trainer_module
from tflm.config import load_json
from tflm.errors import Interrupted, UsageError, UserError
from tflm.experiments import Experiment, ExperimentConfig, Study
from tflm.experiments.study import LOCK, STUDY_FILE
from tflm.files.locks import acquire

pytest.importorskip("optuna", reason="needs optuna: pip install 'tflm[tune]'")

SETTINGS = [
    "training.num_steps=8",
    "training.log_every=2",
    "training.eval_every=2",
    "training.checkpoint_every=4",
    "training.warmup_steps=1",
]
SEED_OF_A_FAILURE = 2
"""With which the second of three trials fails and the third has the other length."""
SEARCH = ["training.peak_learning_rate=1e-3..1e-1:log", "model.dropout=0..0.2"]


@pytest.fixture(autouse=True, scope="module")
def no_measuring():
    """The peak of this machine takes a second to measure and decides nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "peak_flops", lambda dtype: 1e12)
        yield


@pytest.fixture
def create(config, tmp_path):
    """create(name) -> a study of an LSTM on a Chinese and English poem."""

    def make(name="study", search=SEARCH, **options):
        return Study.create(config, str(tmp_path / name), SETTINGS, search, **{"seed": 7, **options})

    return make


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Two trials without interruption."""
    study = Study.create(config, str(tmp_path_factory.mktemp("whole") / "研究"), SETTINGS, SEARCH, seed=7)
    study.run(2)
    return study


def records(study):
    """What is known of the trials but for the time."""
    return [dataclasses.replace(trial, seconds=0.0) for trial in Study.open(study.workdir).trials]


def test_the_first_trial_is_the_recipe_and_the_best_is_never_worse(whole):
    first, best = whole.trials[0], whole.best
    assert first.values == {"training.peak_learning_rate": 3e-3, "model.dropout": 0.0}
    assert best is whole.ranking[0] and best.value <= first.value
    assert [trial.number for trial in whole.trials] == [1, 2]
    assert all(trial.state == "complete" and trial.steps == 8 and trial.seconds > 0 for trial in whole.trials)
    assert [step for step, _ in first.evaluations] == [2, 4, 6]


def test_a_trial_is_a_run_like_any_other(whole, tmp_path):
    trial = whole.trials[1]
    run = whole.experiment(trial)
    assert run.workdir == f"{whole.workdir}/trials/0002"
    assert run.config.training.peak_learning_rate == trial.values["training.peak_learning_rate"]
    assert run.config.model.dropout == trial.values["model.dropout"]
    other = Experiment.create(run.config, str(tmp_path / "run"))
    assert other.train().held_out["loss"] == pytest.approx(trial.value, rel=1e-6)
    assert run.train().step == 8, "nothing is left to do"
    _, step = run.trained_model()
    assert step == 8


def test_files(whole):
    assert {STUDY_FILE, "trials.csv", "parallel_coordinates.png", "trials"} <= set(os.listdir(whole.workdir))
    with open(whole.picture, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    with open(f"{whole.workdir}/trials.csv", encoding="utf-8") as file:
        header, *lines = file.read().splitlines()
    assert header == "trial,state,training.peak_learning_rate,model.dropout,loss,steps,seconds,error"
    assert len(lines) == 2 and lines[0].startswith("1,complete,0.003,0.0,")
    with open(f"{whole.workdir}/{STUDY_FILE}", encoding="utf-8") as file:
        assert json.load(file)["best"] == whole.best.number


def test_tokenized_data_is_shared(whole):
    stores = [f"{whole.workdir}/trials/000{number}/data/train/store.json" for number in (1, 2)]
    assert len({os.stat(path).st_ino for path in stores}) == 1


class Killed(BaseException):
    """As by kill -9: nothing is written any more."""


def interrupting(trial, step, act):
    """A note_fn that calls `act` at the evaluation of a step of a trial, once."""
    current, is_done = [0], []

    def note(text):
        if text.startswith("trial ") and " of " in text:
            current[0] = int(text.split()[1])
        if current[0] == trial and text.startswith(f"  step {step}:") and not is_done:
            is_done.append(True)
            act()

    return note


def test_an_interrupted_study_ends_like_an_uninterrupted_one(whole, create):
    def kill():
        raise Killed

    study = create()
    with pytest.raises(Killed):
        study.run(1, note_fn=interrupting(1, 6, kill))
    assert [trial.state for trial in Study.open(study.workdir).trials] == ["running"]
    with pytest.raises(Interrupted, match="SIGTERM: saved a checkpoint at step 4 of 8"):
        create().run(2, note_fn=interrupting(2, 4, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    notes = []
    Study.open(study.workdir).run(2, note_fn=notes.append)
    assert notes[0].startswith("trial 2 of 2: peak_learning_rate ") and "  resuming from step 4." in notes
    assert records(study) == records(whole)


def test_the_same_call_trains_nothing(whole, config):
    before = os.stat(f"{whole.workdir}/trials/0002/log.jsonl").st_mtime_ns
    again = Study.create(config, whole.workdir, SETTINGS, SEARCH, seed=7)
    assert again.run(2).number == whole.best.number and records(again) == records(whole)
    assert os.stat(f"{whole.workdir}/trials/0002/log.jsonl").st_mtime_ns == before
    with pytest.raises(
        UserError, match=r"holds another study: model\.dropout was 0\.\.0\.2, is not searched"
    ):
        Study.create(config, whole.workdir, SETTINGS, SEARCH[:1])
    with pytest.raises(
        UserError, match=r"holds another study: training\.num_steps was 8, is 9; seed was 7, is 8\."
    ):
        Study.create(config, whole.workdir, [*SETTINGS, "training.num_steps=9"], seed=8)


def test_a_pruned_trial_has_a_checkpoint(whole, tmp_path, monkeypatch):
    shutil.copytree(whole.workdir, tmp_path / "study")
    study, notes = Study.open(str(tmp_path / "study")), []
    monkeypatch.setattr(
        "tflm.experiments.trial_search.TrialSearch.is_pruned",
        lambda search, evaluations: bool(evaluations) and evaluations[-1][0] == 6,
    )
    study.run(3, note_fn=notes.append)
    trial = study.trials[2]
    assert (trial.state, trial.steps, trial.value) == ("pruned", 6, trial.evaluations[-1][1])
    assert notes[-1] == f"trial 3 pruned at step 6: held-out loss {trial.value:.4f}"
    assert study.experiment(trial).trained_model()[1] == 6
    assert study.best.number == whole.best.number and study.ranking[-1] is trial
    # Killed after the checkpoint and before the record: no step is trained again.
    path = f"{study.workdir}/{STUDY_FILE}"
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    record["trials"][2] |= {"state": "running", "value": None, "evaluations": []}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(record, file)
    again = Study.open(study.workdir)
    monkeypatch.setattr(Experiment, "train", None)
    again.run(3)
    assert records(again)[2] == dataclasses.replace(trial, seconds=0.0)


def test_a_trial_that_fails_is_recorded_and_the_study_goes_on(create):
    search = ["training.num_micro_batches=1,3", "model.max_length=8,16"]
    study = create(search=search, sampler="random", seed=SEED_OF_A_FAILURE)
    study.run(3)
    _, failed, other = study.trials
    assert failed.state == "failed" and failed.values["training.num_micro_batches"] == 3
    assert "num_micro_batches divides global_batch_size; got 3 and 4." in failed.error
    assert other.state == "complete" and other.values["training.num_micro_batches"] == 1
    assert study.ranking[-1] is failed and study.table()[1][-1][-1] == "failed"
    # Another length: the tokenized data is not that of the first trial.
    assert other.values["model.max_length"] == 8
    stores = [f"{study.folder(trial)}/data/train/store.json" for trial in (study.trials[0], other)]
    assert (
        len({json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["fingerprint"] for path in stores})
        == 2
    )


def test_where_all_fail_the_study_fails_and_the_same_call_begins_again(create, monkeypatch):
    def fail(run, *arguments):
        raise UserError(f"损失不是有限数 in {os.path.basename(run.workdir)}")

    study, notes = create(), []
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "train", fail)
        with pytest.raises(
            UserError, match=r"^no trial was completed: 3 failed\. Trial 1: 损失不是有限数 in 0001$"
        ):
            study.run(10, note_fn=notes.append)
        assert "trial 2 failed: 损失不是有限数 in 0002" in notes
        with pytest.raises(UserError, match=r"^no trial was completed: 1 failed"):
            create("other").run(1)
    again = Study.open(study.workdir)
    assert again.trials == [] and again.config == study.config, "the same command begins again"
    assert create(search=SEARCH[:1]).fields == ["training.peak_learning_rate"]


def test_a_full_disk_is_no_failure_of_a_trial(create, monkeypatch):
    def fail(run, *arguments):
        raise UserError("cannot write the checkpoint") from OSError(errno.ENOSPC, "No space left on device")

    study = create()
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "train", fail)
        with pytest.raises(UserError, match=r"^cannot write the checkpoint"):
            study.run(2)
    assert [trial.state for trial in Study.open(study.workdir).trials] == ["running"]


def test_a_wrong_measure_is_found_in_the_first_trial(create):
    with pytest.raises(
        UsageError, match=r"^--measure=acuracy is not a held-out measure .* It has: loss, perpl"
    ):
        create(measure="acuracy").run(2)
    assert create(measure="Perplexity").config.measure == "perplexity", "the study is begun again"


def test_evaluations_for_the_pruner(config, tmp_path):
    """A tenth of the steps apart, unless the recipe has a few of them or nothing is pruned."""
    for settings, options, expected in (
        (["training.num_steps=300"], {}, 30),
        (["training.num_steps=2000"], {}, 500),
        (["training.num_steps=300"], {"pruner": "none"}, 500),
        (["training.num_steps=3"], {}, 1),
    ):
        study = Study.create(config, str(tmp_path / "none"), settings, SEARCH, **options)
        assert study._eval_every() == expected


def test_no_trial_begins_after_the_time(whole):
    study = Study.open(whole.workdir)
    study.run(9, minutes=1e-9)
    assert len(study.trials) == 2


def test_refusals(config, create, tmp_path):
    with pytest.raises(UserError, match=r"none' holds no study\. Name a recipe to begin one\."):
        Study.open(str(tmp_path / "none"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "诗.txt").write_text("诗", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"full' is not empty and holds no study\. Give a folder of its own\."
    ):
        create("full")
    (tmp_path / "broken").mkdir()
    for text, words in (
        ("{", "Expecting property name"),
        ("[]", "has no attribute"),
        ("{}", "it has no study"),
    ):
        (tmp_path / "broken" / STUDY_FILE).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=rf"cannot read the study .*{words}"):
            create("broken")
    with pytest.raises(UsageError, match=r"no preset 'tiny'\."):
        Study.create("tiny", str(tmp_path / "none"))
    study = create("locked")
    os.mkdir(study.workdir)
    lock = acquire(f"{study.workdir}/{LOCK}")
    with pytest.raises(
        UserError, match=r"locked' is being tuned by process \d+ on host .* Wait for that process"
    ):
        study.run(1)
    lock.release()
    assert not os.path.exists(tmp_path / "none")


def test_a_recipe_by_name_has_its_flags(tmp_path):
    study = Study.create("tiny_lstm", str(tmp_path / "study"), ["training.num_steps=7"])
    assert study.config.flags == ("--preset=tiny_lstm", "--set=training.num_steps=7")
    assert isinstance(study.config.config, ExperimentConfig) and study.config.config.training.num_steps == 7
    assert study.best is None and not os.path.exists(study.workdir)


def test_the_config_of_a_trial(whole):
    config = load_json(ExperimentConfig, f"{whole.workdir}/trials/0001/config.json")
    assert config == whole.config.config
