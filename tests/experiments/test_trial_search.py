"""What a study tries next and which trials it prunes, with scripted trials."""

import math
import sys

import pytest

from tflm.errors import UserError
from tflm.experiments.search_space import SearchRange
from tflm.experiments.trial_search import TrialSearch
from tflm.experiments.trials import Trial, ranked, short_names, trial_table, write_csv

pytest.importorskip("optuna", reason="needs optuna: pip install 'tflm[tune]'")

RANGES = (
    SearchRange("training.peak_learning_rate", "1e-4..1e-1:log", 1e-4, 1e-1, log=True),
    SearchRange("model.num_layers", "1..3", 1, 3, 1, is_int=True),
    SearchRange("data.languages", '[["中文"], ["english"]]', choices=(["中文"], ["english"])),
)
RECIPE = {"training.peak_learning_rate": 3e-3, "model.num_layers": 2, "data.languages": ["中文"]}
STEPS = range(10, 100, 10)


def make_search(sampler="tpe", pruner="median", seed=0, is_lower_better=True):
    return TrialSearch(RANGES, is_lower_better, sampler, pruner, seed, 10, 100)


def loss_of(values, step):
    """Smallest at a rate of 1e-2, three layers and Chinese."""
    rate = abs(math.log10(values["training.peak_learning_rate"] / 1e-2))
    return (
        3.0 + rate - 0.2 * values["model.num_layers"] + (values["data.languages"] != ["中文"]) + 10.0 / step
    )


def run_trials(search, count, known=()):
    """Trials of a scripted loss, after those that are known."""
    trials = list(known)
    for trial in trials:
        search.repeat(trial)
    for number in range(len(trials) + 1, count + 1):
        trial = Trial(number, search.begin(number, RECIPE if number == 1 else None))
        for step in STEPS:
            trial.evaluations.append((step, loss_of(trial.values, step)))
            if search.is_pruned(trial.evaluations):
                trial.state, trial.value = "pruned", trial.evaluations[-1][1]
                break
        else:
            trial.state, trial.value = "complete", loss_of(trial.values, 100)
        search.end(trial)
        trials.append(trial)
    return trials


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_a_study_that_is_continued_tries_what_it_would_have_tried(sampler, pruner):
    whole = run_trials(make_search(sampler, pruner), 14)
    records = [Trial.read(vars(trial)) for trial in whole[:8]]
    assert run_trials(make_search(sampler, pruner), 14, records) == whole
    assert whole[0].values == RECIPE
    states = {trial.state for trial in whole}
    assert states == ({"complete"} if pruner == "none" else {"complete", "pruned"})
    assert run_trials(make_search(sampler, pruner, seed=1), 14)[1].values != whole[1].values
    for trial in whole:
        assert all(each.has(trial.values[each.field]) for each in RANGES)
        assert len(f"{trial.values['training.peak_learning_rate']:.8g}".replace("e-0", "")) <= 8


def test_tpe_finds_better_values_than_the_recipe():
    trials = run_trials(make_search(pruner="none"), 30)
    assert min(trial.value for trial in trials) < trials[0].value - 0.1
    late = [trial.values["data.languages"] for trial in trials[-10:]]
    assert late.count(["中文"]) >= 8, "it learns which choice is better"


def test_the_median_pruner_leaves_a_third_of_the_steps_and_three_trials():
    search = make_search()
    for number in (1, 2, 3):
        search.begin(number, RECIPE)
        assert not search.is_pruned([(step, 5.0 * number) for step in STEPS])
        search.end(Trial(number, RECIPE, "complete", 5.0 * number))
    search.begin(4, RECIPE)
    assert not search.is_pruned([(30, 11.0)]), "too early"
    assert search.is_pruned([(30, 11.0), (40, 11.0)]), "worse than the median of 5, 10 and 15"
    search.end(Trial(4, RECIPE, "pruned", 11.0))
    search.begin(5, RECIPE)
    assert not search.is_pruned([(40, 9.0)])
    assert search.is_pruned([(40, 9.0), (50, float("nan"))]) is False, "by the best value so far"
    search.end(Trial(5, RECIPE, "failed", error="the loss is not finite"))
    other = make_search(is_lower_better=False)
    for number in (1, 2, 3):
        other.begin(number, RECIPE)
        other.is_pruned([(40, 0.1 * number)])
        other.end(Trial(number, RECIPE, "complete", 0.1 * number))
    other.begin(4, RECIPE)
    assert other.is_pruned([(40, 0.1)])


def test_values_of_a_recipe_out_of_their_range_are_left_out(recwarn):
    search = make_search()
    outside = {**RECIPE, "model.num_layers": 8, "data.languages": ["中文", "english"]}
    assert search.begin(1, outside) == outside
    search.end(Trial(1, outside, "complete", 3.0))
    assert RANGES[1].has(search.begin(2)["model.num_layers"])
    assert not recwarn.list


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UserError, match=r"^tflm tune needs the package optuna: pip install 'tflm\[tune\]'\.$"
    ):
        make_search()


TRIALS = [
    Trial(1, RECIPE, "complete", 3.0, 100, 12.3),
    Trial(2, {**RECIPE, "data.languages": ["english"]}, "pruned", 4.5, 20, 2.5),
    Trial(3, {**RECIPE, "model.num_layers": 3}, "complete", 2.5, 100, 15.0),
    Trial(4, RECIPE, "failed", None, 7, 1.0, error="不是有限数, at step 7"),
    Trial(5, RECIPE, "pruned", float("nan"), 20, 2.5),
    Trial(6, RECIPE, "running"),
]
FIELDS = list(RECIPE)


def test_the_best_is_first():
    assert [trial.number for trial in ranked(TRIALS, "loss")] == [3, 1, 2, 5, 6, 4]
    assert [trial.number for trial in ranked(TRIALS, "accuracy")] == [1, 3, 2, 5, 6, 4]
    header, rows = trial_table(ranked(TRIALS, "loss"), FIELDS, "token_accuracy")
    assert header == [
        "trial", "peak_learning_rate", "num_layers", "languages", "token accuracy", "steps", "seconds", "state"
    ]  # fmt: skip
    assert rows[1] == ["1 (recipe)", "0.003", "2", '["中文"]', "3.0000", "100", "12.3", "complete"]
    assert rows[-1][-4:] == ["", "7", "1.0", "failed"]
    assert short_names(["model.dropout", "task.dropout"]) == {
        "model.dropout": "model.dropout",
        "task.dropout": "task.dropout",
    }


def test_the_table_as_a_file(tmp_path):
    path = str(tmp_path / "trials.csv")
    write_csv(TRIALS[:4], FIELDS, "loss", path)
    lines = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()
    assert (
        lines[0]
        == "trial,state,training.peak_learning_rate,model.num_layers,data.languages,loss,steps,seconds,error"
    )
    assert lines[4] == '4,failed,0.003,2,"[""中文""]",,7,1.0,"不是有限数, at step 7"'
    with pytest.raises(UserError, match=r"cannot write the table .*: No such file or directory"):
        write_csv(TRIALS, FIELDS, "loss", str(tmp_path / "none" / "trials.csv"))
