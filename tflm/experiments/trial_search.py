"""What a study tries next, and which trials it prunes: Optuna (Akiba et al., 2019), asked by `Study`."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.experiments.search_space import SearchRange
from tflm.experiments.trials import Trial

_NUM_RANDOM = 5
"""Trials before TPE has enough of them to model; the recipe's is the first."""
_NUM_COMPLETE = 3
"""Completed trials before the median pruner has something to compare with."""


class TrialSearch:
    """Optuna's study, in memory, made from the records of the trials so far. What it proposes is a function of the seed
    and of these records, so that a resumed study goes on as if it had not been interrupted.

    Args:
        ranges: the fields and their values.
        measure_is_lower_better: the direction.
        sampler: one of SAMPLERS.
        pruner: one of PRUNERS.
        seed: of the sampler.
        eval_every: steps between two evaluations.
        num_steps: of a whole trial.
    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(
        self,
        ranges: Sequence[SearchRange],
        measure_is_lower_better: bool,
        sampler: str,
        pruner: str,
        seed: int,
        eval_every: int,
        num_steps: int,
    ) -> None:
        try:
            import optuna
        except ImportError as error:
            raise UserError("tflm tune needs the package optuna: pip install 'tflm[tune]'.") from error
        self._optuna, self._sampler_name, self._seed = optuna, sampler, seed
        self._ranges = {each.field: each for each in ranges}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruners = optuna.pruners
        made = {
            "median": lambda: pruners.MedianPruner(_NUM_COMPLETE, n_warmup_steps=num_steps // 3),
            "hyperband": lambda: pruners.HyperbandPruner(eval_every, num_steps, reduction_factor=3),
            "none": pruners.NopPruner,
        }
        self._study = optuna.create_study(
            study_name="tflm",  # Hyperband chooses a bracket by name and number
            direction="minimize" if measure_is_lower_better else "maximize",
            pruner=made[pruner](),
        )
        self._distributions = {each.field: self._distribution(each) for each in ranges}
        self._trial: Any = None
        self._reported: set[int] = set()

    def begin(self, number: int, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begins a trial.

        Args:
            number: int, that of the trial.
            values: field to value; proposed when None. A value that is out of its range, which that of a recipe may
                be, is left out of what the sampler learns from.
        Returns:
            Field to value.
        """
        distributions = self._distributions
        self._study.sampler = self._sampler(number)
        self._reported.clear()
        if values is not None:
            inside = {field: value for field, value in values.items() if self._ranges[field].has(value)}
            distributions = {field: distributions[field] for field in inside}
            self._study.enqueue_trial(
                {field: self._to_optuna(field, value) for field, value in inside.items()}
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of experimental features
            self._trial = self._study.ask(distributions)
        return values or {
            field: self._from_optuna(field, self._trial.params[field]) for field in self._ranges
        }

    def is_pruned(self, evaluations: Iterable[tuple[int, float]]) -> bool:
        """Whether the trial that has begun is to end, by its evaluations so far; those that were reported before are
        skipped."""
        answer = False
        for step, value in evaluations:
            if step not in self._reported:
                self._reported.add(step)
                self._trial.report(value, step)
                answer = self._trial.should_prune()
        return bool(answer)

    def end(self, trial: Trial) -> None:
        """Ends the trial that has begun."""
        states = self._optuna.trial.TrialState
        if trial.state == "complete":
            self._study.tell(self._trial, trial.value)
        else:  # a failed one too: the sampler ignores failures, and would try the same values again
            self._study.tell(self._trial, state=states.PRUNED)

    def repeat(self, trial: Trial) -> None:
        """Learns from a trial of an earlier call."""
        self.begin(trial.number, trial.values)
        self.is_pruned(trial.evaluations)
        self.end(trial)

    def _distribution(self, found: SearchRange) -> Any:
        distributions = self._optuna.distributions
        if found.choices:
            return distributions.CategoricalDistribution([found.key_of(choice) for choice in found.choices])
        if found.is_int:
            return distributions.IntDistribution(found.low, found.high, found.log, found.step)
        return distributions.FloatDistribution(found.low, found.high, found.log, found.step or None)

    def _to_optuna(self, field: str, value: Any) -> Any:
        return self._ranges[field].key_of(value) if self._ranges[field].choices else value

    def _from_optuna(self, field: str, value: Any) -> Any:
        return self._ranges[field].value_of(value) if self._ranges[field].choices else value

    def _sampler(self, number: int) -> Any:
        """That of one trial, with a seed of its own: Optuna's samplers do not keep theirs when a study is resumed."""
        samplers, ranges = self._optuna.samplers, self._ranges
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])

        class Rounding:
            """Samples numbers with few digits."""

            def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
                return ranges[name].rounded(
                    super().sample_independent(study, trial, name, distribution)  # type: ignore[misc]
                )

        class RoundingTpe(Rounding, samplers.TPESampler):  # type: ignore[name-defined]
            """TPE (Bergstra et al., 2011)."""

        class RoundingRandom(Rounding, samplers.RandomSampler):  # type: ignore[name-defined]
            """Random search (Bergstra and Bengio, 2012)."""

        if self._sampler_name == "random":
            return RoundingRandom(seed=seed)
        return RoundingTpe(n_startup_trials=_NUM_RANDOM, multivariate=False, seed=seed)
