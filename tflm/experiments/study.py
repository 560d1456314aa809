"""A study: trials of one recipe with other values of some fields; `tflm tune`.

WORKDIR/study.json                  the recipe, the ranges and every trial
WORKDIR/trials.csv                  the trials as a table
WORKDIR/parallel_coordinates.png    the trials as a picture
WORKDIR/trials/0007/                a trial, a run like any other
"""

import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import tensorflow as tf

from tflm.config import as_begun, from_dict, override, to_dict
from tflm.errors import UsageError, UserError
from tflm.evaluation import evaluate
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.experiment import Experiment
from tflm.experiments.recipe_registry import load_preset
from tflm.experiments.run_folder import share_parts
from tflm.experiments.search_space import (
    SearchRange,
    StudyConfig,
    check_same_study,
    new_study,
    parse_search,
    setting,
    value_in,
)
from tflm.experiments.trial_search import TrialSearch
from tflm.experiments.trials import (
    RECIPE,
    Trial,
    outcome_text,
    plot_trials,
    ranked,
    trial_table,
    values_text,
    write_csv,
)
from tflm.files.locks import hold
from tflm.files.writing import io_error_number, whole_file, writing
from tflm.training import Checkpoints, make_strategy, read_log, training_lock
from tflm.training.best_measure import is_lower_better

STUDY_FILE, TABLE, PICTURE, LOCK = "study.json", "trials.csv", "parallel_coordinates.png", "tune.lock"
_FEWEST_EVALUATIONS = 4
_MOST_FAILURES = 3
"""Failed trials at the beginning after which a study gives up: the cause is not the values."""


class Study:
    """Searches good values of some fields of a recipe. Each trial is a run; the first has the recipe's own values, so
    that the best one is never worse.

        study = Study.create("tiny_lstm", "studies/lstm", search=["training.peak_learning_rate=1e-3..1e-1:log"])
        best = study.run(num_trials=10)
        best.values                                         # {"training.peak_learning_rate": 0.0123}
        study.experiment(best).export("saved_models/lstm")

    Args:
        config: what is tried.
        workdir: the folder of the study.
        trials: those so far.
    """

    def __init__(self, config: StudyConfig, workdir: str, trials: Sequence[Trial] = ()) -> None:
        self.config, self.workdir, self.trials = config, workdir, list(trials)
        self.ranges: tuple[SearchRange, ...] = parse_search(config.config, config.search)

    @classmethod
    def create(
        cls,
        recipe: str | ExperimentConfig | None,
        workdir: str,
        settings: Sequence[str] = (),
        search: Sequence[str] = (),
        flags: Sequence[str] | None = None,
        **options: Any,
    ) -> Self:
        """Starts a study in `workdir`, or takes up the one that is there if it is the same. One without a trial that
        trained is begun again.

        Args:
            recipe: the name of a recipe or a config; None for that of the study that is there.
            workdir: a folder, made if need be.
            settings: `section.field=value` each, for all trials.
            search: `section.field=RANGE` each; `default_search` when empty, or that of the study that is there.
            flags: those of `tflm train` for the recipe.
            options: `measure`, `sampler`, `pruner` and `seed`, see `StudyConfig`; those of the study that is there when
                not given or None.
        Raises:
            UserError: no such field, a range that does not fit, no held-out data; another study, or something else,
                is in the folder.
            UsageError: there is no such recipe, or a range has another form.
        """
        path = os.path.join(workdir, STUDY_FILE)
        old: dict[str, Any] = _read(path) if os.path.exists(path) else {"trials": []}
        found: StudyConfig | None = from_dict(StudyConfig, old["study"]) if "study" in old else None
        if recipe is None and found is None:
            raise UserError(f"{workdir!r} holds no study. Name a recipe to begin one.")
        if found is None and os.path.isdir(workdir) and set(os.listdir(workdir)) - {LOCK}:
            raise UserError(f"{workdir!r} is not empty and holds no study. Give a folder of its own.")
        if isinstance(recipe, str):
            own = (f"--preset={recipe}", *(f"--set={text}" for text in settings))
            recipe, flags = load_preset(recipe), own if flags is None else flags
        base: Any = recipe or getattr(found, "config", None)
        config: ExperimentConfig = override(base, settings)
        trials = [Trial.read(record) for record in old["trials"]]
        if found is None or all(trial.state == "failed" for trial in trials):
            before = found if trials and found is not None and found.config == config else None
            return cls(new_study(config, search, flags or (), options, before), workdir)
        check_same_study(found, as_begun(config, old["study"]["config"]), search, options, workdir)
        return cls(found, workdir, trials)

    @classmethod
    def open(cls, workdir: str) -> Self:
        """The study in `workdir`.

        Raises:
            UserError: it holds none.
        """
        return cls.create(None, workdir)

    @property
    def best(self) -> Trial | None:
        """The completed trial with the best measure, the earliest of equal ones; None before the first."""
        first = next(iter(self.ranking), None)
        return first if first is not None and first.state == "complete" else None

    @property
    def ranking(self) -> list[Trial]:
        """All trials: completed ones by their measure, then pruned ones by theirs, then the others."""
        return ranked(self.trials, self.config.measure)

    @property
    def fields(self) -> list[str]:
        """The searched fields."""
        return [each.field for each in self.ranges]

    @property
    def picture(self) -> str:
        """The picture of the trials."""
        return os.path.join(self.workdir, PICTURE)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of `ranking`: number, values, measure, steps, seconds, state."""
        return trial_table(self.ranking, self.fields, self.config.measure)

    def folder(self, trial: Trial) -> str:
        """The run of a trial."""
        return os.path.join(self.workdir, "trials", f"{trial.number:04}")

    def settings(self, trial: Trial) -> list[str]:
        """What a trial changes of the recipe, as `section.field=value`."""
        return [setting(field, value) for field, value in trial.values.items()]

    def experiment(self, trial: Trial) -> Experiment:
        """The run of a trial."""
        return Experiment.open(self.folder(trial))

    def run(
        self,
        num_trials: int = 10,
        minutes: float = 0.0,
        strategy: str | tf.distribute.Strategy = "auto",
        note_fn: Callable[[str], None] | None = None,
    ) -> Trial:
        """Trains trials until there are `num_trials`, and writes the table and the picture. An interrupted trial is
        continued first. A trial that fails, such as by a loss that is not finite, is recorded, and the next one begins.

        Args:
            num_trials: int, those of earlier calls included.
            minutes: float, after which no trial begins; 0 for no limit.
            strategy: where to run; see `Experiment.train`.
            note_fn: called with lines for the user.
        Returns:
            The best trial.
        Raises:
            UserError: no trial was completed, Optuna is not installed, a file cannot be written, or another process
                works on the study.
            Interrupted: SIGTERM or Ctrl-C arrived during the training steps. The same call continues.
        """
        note_fn = note_fn or (lambda text: None)
        remedy = "Wait for that process, stop it, or give another --workdir."
        with hold(os.path.join(self.workdir, LOCK), f"{self.workdir!r} is being tuned", remedy):
            where = make_strategy(strategy) if isinstance(strategy, str) else strategy
            search, end = self._search(), time.monotonic() + 60.0 * minutes
            for past in self.trials:
                if past.state != "running":
                    search.repeat(past)
            while trial := self._next(num_trials, search, not minutes or time.monotonic() < end):
                note_fn(f"trial {trial.number} of {num_trials}: {values_text(trial, self.fields)}")
                self._train(trial, search, where, note_fn)
                search.end(trial)
                self._save()
                note_fn(outcome_text(trial, self.best, self.config.measure))
                self._check_failures()
            self._write_reports(note_fn)
        self._check_failures(is_end=True)
        assert self.best is not None
        return self.best

    def _search(self) -> TrialSearch:
        config = self.config
        return TrialSearch(
            self.ranges,
            is_lower_better(config.measure),
            config.sampler,
            config.pruner,
            config.seed,
            self._eval_every(),
            config.config.training.num_steps,
        )

    def _eval_every(self) -> int:
        """That of the recipe where a trial has a few evaluations, else a tenth of the steps: a pruner needs some."""
        training = self.config.config.training
        if self.config.pruner == "none" or training.num_steps // training.eval_every >= _FEWEST_EVALUATIONS:
            return training.eval_every
        return max(1, training.num_steps // 10)

    def _next(self, num_trials: int, search: TrialSearch, is_time_left: bool) -> Trial | None:
        """The interrupted trial, or a new one; None at the end."""
        if self.trials and self.trials[-1].state == "running":
            search.begin(self.trials[-1].number, self.trials[-1].values)
            return self.trials[-1]
        number = len(self.trials) + 1
        if number > num_trials or (number > RECIPE and not is_time_left):
            return None
        recipe = {each.field: value_in(self.config.config, each.field) for each in self.ranges}
        trial = Trial(number, search.begin(number, recipe if number == RECIPE else None))
        shutil.rmtree(self.folder(trial), ignore_errors=True)  # of a study that was begun again
        self.trials.append(trial)
        self._save()
        return trial

    def _train(self, trial: Trial, search: TrialSearch, where: Any, note_fn: Callable[[str], None]) -> None:
        """Trains a trial to its end and fills in its record."""
        folder = self.folder(trial)
        with training_lock(folder):
            try:
                run = Experiment.create(self._config_of(trial), folder)
                self._share_data(run)
                if not self._was_pruned(run, trial, search):
                    self._train_on(run, trial, search, where, note_fn)
            except UsageError:  # the measure: not the fault of this trial
                self.trials.remove(trial)
                self._save()
                raise
            except UserError as error:
                if error.__cause__ is not None and io_error_number(error.__cause__) is not None:
                    raise  # such as a full disk: the same command continues
                trial.state, trial.error = "failed", str(error)
            except tf.errors.ResourceExhaustedError as error:
                if io_error_number(error) is not None:
                    raise
                trial.state, trial.error = "failed", f"out of memory: {error.message.splitlines()[0]}"
        log = read_log(folder)
        trial.seconds = max((record["seconds"] for record in log if "seconds" in record), default=0.0)
        trial.steps = max((record["step"] for record in log), default=0)

    def _train_on(
        self, run: Experiment, trial: Trial, search: TrialSearch, where: Any, note_fn: Callable[[str], None]
    ) -> None:
        """Trains until the last step or until it is pruned."""

        def is_pruned(step: int, metrics: Mapping[str, float]) -> bool:
            self._check_measure(metrics)
            trial.evaluations = self._evaluations(run, step)
            if search.is_pruned(trial.evaluations):
                trial.state, trial.value = "pruned", trial.evaluations[-1][1]
            return trial.state == "pruned"

        summary = run.train(where, lambda text: note_fn(f"  {text}"), is_pruned)
        if trial.state == "pruned":
            return
        metrics, training = summary.held_out, run.config.training
        if (
            summary.step < training.num_steps and training.max_eval_batches
        ):  # an early stop, measured over a part
            metrics = evaluate(run.task, run.trained_model()[0], run.batches("eval", training=False))
        self._check_measure(metrics)
        trial.evaluations = self._evaluations(run, summary.step)
        trial.value = float(f"{metrics[self.config.measure]:.7g}")
        if not math.isfinite(trial.value):
            raise UserError(f"the held-out {self.config.measure} is {trial.value}.")
        trial.state = "complete"

    def _was_pruned(self, run: Experiment, trial: Trial, search: TrialSearch) -> bool:
        """Whether a trial was pruned at its newest checkpoint, and killed before that was recorded."""
        steps = Checkpoints(os.path.join(run.workdir, "checkpoints"), {}).steps()
        trial.evaluations = self._evaluations(run, steps[-1]) if steps else []
        if not search.is_pruned(trial.evaluations) or trial.evaluations[-1][0] != steps[-1]:
            return False
        trial.state, trial.value = "pruned", trial.evaluations[-1][1]
        return True

    def _evaluations(self, run: Experiment, last: int) -> list[tuple[int, float]]:
        """Step and measure of the evaluations in the log of a run, before its last step and up to `last`."""
        name, end = f"eval_{self.config.measure}", run.config.training.num_steps
        records = [record for record in read_log(run.workdir) if name in record]
        return [(r["step"], r[name]) for r in records if r["step"] <= last and r["step"] < end]

    def _config_of(self, trial: Trial) -> ExperimentConfig:
        config = self.config.config
        training = dataclasses.replace(config.training, eval_every=self._eval_every())
        return override(dataclasses.replace(config, training=training), self.settings(trial))

    def _share_data(self, run: Experiment) -> None:
        """Gives a new run the vocabulary and the tokenized data of an earlier trial, where they are the same; a store
        that does not fit is made again."""
        if os.path.exists(os.path.join(run.workdir, "data")):
            return
        for trial in self.trials:
            folder = self.folder(trial)
            if folder == run.workdir or not os.path.exists(os.path.join(folder, "data")):
                continue
            other, own = (to_dict(config) for config in (Experiment.open(folder).config, run.config))
            same = all(other[part] == own[part] for part in ("data", "tokenizer", "task", "init_from"))
            if same and other["model"]["kind"] == own["model"]["kind"]:
                share_parts(folder, run.workdir, ("tokenizer", "labels.json", "data"))
                return

    def _check_measure(self, metrics: Mapping[str, float]) -> None:
        if self.config.measure not in metrics:
            names = ", ".join(name for name in metrics if not name.startswith("num_"))
            raise UsageError(
                f"--measure={self.config.measure} is not a held-out measure of this task. It has: {names}."
            )

    def _check_failures(self, is_end: bool = False) -> None:
        """Raises UserError if no trial was completed, of all or of the first few."""
        failed = [trial for trial in self.trials if trial.state == "failed"]
        if failed and len(failed) == len(self.trials) and (is_end or len(failed) >= _MOST_FAILURES):
            raise UserError(
                f"no trial was completed: {len(failed)} failed. Trial {failed[0].number}: {failed[0].error}"
            )
        if is_end and self.best is None:
            raise UserError(
                f"no trial was completed of {len(self.trials)}: {len(failed)} failed, the others were pruned. Give a "
                "larger --num_trials."
            )

    def _save(self) -> None:
        """Writes study.json."""
        path, best = os.path.join(self.workdir, STUDY_FILE), self.best
        record = {
            "study": to_dict(self.config),
            "best": best.number if best else None,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }
        with (
            writing(f"the study {path!r}"),
            whole_file(path) as aside,
            open(aside, "w", encoding="utf-8") as file,
        ):
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")

    def _write_reports(self, note_fn: Callable[[str], None]) -> None:
        """Writes trials.csv and parallel_coordinates.png."""
        measure, name = self.config.measure, self.config.config.name
        write_csv(self.trials, self.fields, measure, os.path.join(self.workdir, TABLE))
        if notice := plot_trials(
            self.ranking, self.ranges, measure, self.picture, f"{name}: {len(self.trials)} trials"
        ):
            note_fn(notice)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        if {"study", "trials"} <= record.keys():
            return record
        reason = "it has no study and no trials"
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error)
    raise UserError(f"cannot read the study {path!r}: {reason}. Give another --workdir.")
