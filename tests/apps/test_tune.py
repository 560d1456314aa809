"""A search by command: what it prints, how it goes on, what it refuses."""

import os
import shlex
import signal

import pytest

from apps import tune
from tests.apps.refusals import check
from tflm.experiments import Study
from tflm.export.verify import as_written

pytest.importorskip("optuna", reason="needs optuna: pip install 'tflm[tune]'")

ROWS = [
    "text\tlabel",
    *(
        f"a {'good' if n % 2 else 'bad'} film {n} 很{'好' if n % 2 else '坏'}\t{'好' if n % 2 else 'bad'}"
        for n in range(40)
    ),
]
SETTINGS = (
    "tokenizer.kind=byte",
    "model.embedding_dim=8",
    "model.hidden_dim=8",
    "training.num_steps=4",
    "training.log_every=2",
    "training.eval_every=2",
    "training.global_batch_size=8",
)
SEARCH = ("training.peak_learning_rate=1e-3..1e-1:log", "training.optimizer=adamw,muon")


@pytest.fixture(autouse=True, scope="module")
def fast():
    """The peak of this machine takes a second to measure, and graphs that run a few times need no optimizer."""
    with pytest.MonkeyPatch.context() as patch, as_written():
        patch.setattr("tflm.training.trainer.peak_flops", lambda dtype: 1e12)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With reviews in English and Chinese."""
    path = tmp_path_factory.mktemp("tune")
    (path / "评论.tsv").write_text("\n".join(ROWS), encoding="utf-8")
    return path


def arguments(folder, *more):
    sets = [f"--set={each}" for each in SETTINGS]
    searches = [f"--search={each}" for each in SEARCH]
    return [
        "--task=classification",
        f"--data={folder}/评论.tsv",
        f"--workdir={folder}/study",
        *sets,
        *searches,
        *more,
    ]


@pytest.fixture(scope="module")
def done(call, folder):
    """Two trials, the second interrupted by SIGTERM: both calls."""
    sent = []

    def note(text):
        if text.startswith("  step 2:") and len(sent) < 2:
            sent.append(text)
            if len(sent) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "note", note)
        interrupted = call(
            "tune",
            *arguments(folder, "--num_trials=2", "--measure=accuracy", "--pruner=none"),
        )
    return interrupted, call("tune", f"--workdir={folder}/study", "--num_trials=2")


def test_it_is_interrupted_and_continued(done, folder):
    interrupted, again = done
    assert interrupted.code == 75
    assert (
        "SIGTERM: saved a checkpoint at step 2 of 4. The same command continues from there."
        in interrupted.err
    )
    assert again.code == 0, again.err
    assert "search training.optimizer=adamw,muon" in again.err
    assert "trial 2 of 2: peak_learning_rate " in again.err and "  resuming from step 2." in again.err


def test_the_table_has_the_best_trial_first(done, folder):
    study = Study.open(f"{folder}/study")
    header, first, second, *_ = done[1].lines
    assert header.split() == [
        "trial",
        "peak_learning_rate",
        "optimizer",
        "accuracy",
        "steps",
        "seconds",
        "state",
    ]
    best, other = study.ranking
    for line, trial in ((first, best), (second, other)):
        assert (
            line.split()[0] == str(trial.number)
            and f" {trial.value:.4f} " in line
            and line.endswith("  complete")
        )
    assert best.value >= other.value
    assert f"best: {'the recipe' if best.number == 1 else 'trial 2'}" in done[1].out
    assert f"parallel coordinates: {folder}/study/parallel_coordinates.png" in done[1].lines


def test_the_next_commands_work(done, folder, call):
    study = Study.open(f"{folder}/study")
    commands = [shlex.split(line) for line in done[1].lines if line.startswith("tflm ")]
    exporting = commands[0]
    assert exporting[:3] == ["tflm", "export", f"--workdir={folder}/study/trials/000{study.best.number}"]
    exported = call("export", exporting[2], f"--output={folder}/saved_models/study")
    assert exported.code == 0, exported.err
    assert os.path.exists(f"{folder}/saved_models/study/1/saved_model.pb")


def test_the_command_that_trains_with_the_values_of_a_trial(done, folder, call):
    study = Study.open(f"{folder}/study")
    _, training = tune._next_commands(study, study.trials[1])
    config = call("train", *shlex.split(training)[2:], "--print_config").out
    assert f'"peak_learning_rate": {study.trials[1].values["training.peak_learning_rate"]}' in config
    assert f'"optimizer": "{study.trials[1].values["training.optimizer"]}"' in config
    assert '"num_steps": 4,' in config and "评论.tsv" in config


def test_the_line_about_the_best(done, folder):
    study = Study.open(f"{folder}/study")
    recipe, other = study.trials
    assert tune._comparison(study, recipe).startswith("best: the recipe's own values, held-out accuracy ")
    assert tune._comparison(study, other).endswith(f"; with the recipe's own values {recipe.value:.4f}")
    recipe.value = None
    assert tune._comparison(study, other).endswith("; the recipe's own values failed")


@pytest.mark.parametrize(
    "more, code, words",
    [
        (["--search=training.peak_learning_rate=1e-3..1:log"], 2, "--search has training.peak_learning_rate twice."),
        (["--set=training.num_steps=5"], 1, "holds another study: training.num_steps was 4, is 5. Give another"),
        (["--sampler=random"], 1, "holds another study: sampler was 'tpe', is 'random'."),
        (["--sampler=grid"], 2, "value should be one of <tpe|random>"),
        (["--num_trials=0"], 2, "flag --num_trials=0: 0 is not a positive integer"),
        (["--minutes=nan"], 2, "--minutes=nan is not a number: give one."),
        (["--preset=tiny_lstm"], 2, "--preset and --task both choose the recipe: give one of them."),
    ],
)  # fmt: skip
def test_refusals_of_a_study_that_is_there(done, folder, call, more, code, words):
    check(call("tune", *arguments(folder, *more)), code, words)


@pytest.mark.parametrize(
    "flags, code, words",
    [
        ([], 2, "--workdir is needed: the folder of the study, such as --workdir=studies/first."),
        (["--workdir={d}/new"], 2, "--preset or --task is needed to begin a study in '{d}/new'; tflm train"),
        (["--workdir={d}/new", "--preset=tiny"], 2, "no preset 'tiny'. There are: "),
        (["--workdir={d}/new", "--task=诗", "--data=a"], 2, "--task=诗: no such task. There are: "),
        (["--workdir={d}", "--preset=tiny_lstm"], 1, "is not empty and holds no study. Give a folder of its own."),
        (["--workdir={d}/new", "--preset=tiny_lstm", "--search=model.droput=0..1"], 1, "Did you mean model.dropout?"),
        (["--workdir={d}/new", "--preset=tiny_lstm", "--search=model.dropout=1..0"], 2, "the first number is below"),
        (["--workdir={d}/new", "--preset=tiny_lstm", "--set=data.eval_fraction=0"], 1, "compared on held-out data"),
    ],
)  # fmt: skip
def test_refusals(folder, call, flags, code, words):
    given = [flag.format(d=folder) for flag in flags]
    check(call("tune", *given), code, words.format(d=folder))
    assert not os.path.exists(folder / "new")


def test_several_workers_are_refused(folder, call, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    check(
        call("tune", "--preset=tiny_lstm", f"--workdir={folder}/new"),
        2,
        "trains in one process: unset TF_CONFIG.",
    )
