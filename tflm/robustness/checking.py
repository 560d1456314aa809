"""A check of a model: perturbed texts and templates, and how often the prediction is not as expected.

report = check(tflm.load("saved_models/reviews"), ["Fast delivery, good quality", "质量很好，物流太慢"])
for test in report.tests:
    print(test.name, test.num_failed, test.num_cases)
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tflm.errors import UserError
from tflm.robustness.chinese import EXTRA, is_installed
from tflm.robustness.perturbation import (
    DIRECTION,
    INPUT,
    INVARIANCE,
    Perturbation,
    PerturbationOptions,
    all_perturbations,
    find_perturbation,
)
from tflm.robustness.predictors import Prediction, Predictor, Row, predictor_of
from tflm.robustness.templates import TemplateTest
from tflm.text.cjk import HAN
from tflm.text.words import comparable, one_line

if TYPE_CHECKING:
    from tflm.serving import ModelHandle

FUNCTIONALITY = "functionality"
ProgressFn = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class CheckOptions:
    """What decides whether a test fails."""

    perturbation: PerturbationOptions = dataclasses.field(default_factory=PerturbationOptions)
    """Given to the perturbations."""
    tolerance: float = 0.0
    """Of an invariance test of a classifier: a changed label is no failure where the probability of the first label
    fell by no more than this. Of similarities: by how much they may differ, 0.05 at least."""
    direction_tolerance: float = 0.1
    """Of a directional test: by how much the probability may rise."""
    seed: int = 0
    """Of all that is drawn."""
    max_new_tokens: int = 32
    """Of a generative model; greedy."""
    batch_size: int = 32
    """Texts of a request."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A case that is not as expected."""

    texts: Row
    """As given, or the filled template."""
    changed: Row
    """After the change; () if nothing was changed."""
    expected: str
    """The prediction for `texts`, or the label of the template."""
    score: float
    """Its probability before the change; NaN without one."""
    found: str
    """The prediction for `changed`, or for `texts` where nothing was changed."""
    found_score: float
    """The probability of `expected` after the change; of templates with a label that of `found`."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One test over all texts."""

    name: str
    kind: str
    """invariance, direction, input or functionality."""
    summary: str
    num_cases: int
    """Texts that the test applies to."""
    num_unchanged: int
    """Texts in which there was nothing to change; they are no cases."""
    failures: tuple[Failure, ...]
    """The greatest change of probability first."""
    accuracy: tuple[float, float] | None = None
    """Of labelled texts: of the cases, before and after the change."""

    @property
    def num_failed(self) -> int:
        """How many of the cases are not as expected."""
        return len(self.failures)

    @property
    def rate(self) -> float:
        """The share of cases that fail; NaN of no cases."""
        return self.num_failed / self.num_cases if self.num_cases else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the rate (Wilson, 1927); of no cases (0, 1)."""
        if not self.num_cases:
            return 0.0, 1.0
        from scipy import stats

        found = stats.binomtest(self.num_failed, self.num_cases).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """All tests of a check."""

    model: str
    num_texts: int
    accuracy: float | None
    """Of labelled texts, as they are."""
    tests: tuple[Outcome, ...]
    left_out: tuple[str, ...]
    """What was not tested, and why."""


def check(
    model: "ModelHandle",
    texts: Sequence[str | Row] = (),
    labels: Sequence[str] | None = None,
    *,
    tests: Sequence[str | Perturbation] = (),
    templates: Sequence[TemplateTest] = (),
    options: CheckOptions | None = None,
    progress_fn: ProgressFn | None = None,
) -> CheckReport:
    """Asks a model for the predictions of texts as they are, perturbed, and from templates.

    Args:
        model: from `tflm.load`.
        texts: of a model of single texts str; of pairs and of questions with contexts pairs of them.
        labels: of each text; adds the accuracy before and after each change.
        tests: names of perturbations, or perturbations; all that apply when empty.
        templates: see `read_templates`.
        options: tolerances, rate, seed.
        progress_fn: called after each test with how many are done, and how many there are.
    Raises:
        UserError: there is nothing to check, an unknown test, or a library that a named test needs is not installed.
    """
    options = options or CheckOptions()
    predictor = predictor_of(model, options.batch_size, options.max_new_tokens)
    rows = [(each,) if isinstance(each, str) else tuple(each) for each in texts]
    if bad := next((row for row in rows if len(row) != len(predictor.names)), None):
        raise UserError(
            f"this model takes {' and '.join(predictor.names)}; got {len(bad)} texts: {bad!r:.80}."
        )
    if labels is not None and len(labels) != len(rows):
        raise UserError(f"there are {len(rows)} texts and {len(labels)} labels; expected equally many.")
    if not rows and not templates:
        raise UserError("there is nothing to check: give texts or templates.")
    chosen, left_out = _chosen(tests, rows, predictor, options)
    run = _Check(predictor, rows, labels, options)
    results: list[Outcome] = []
    total = (len(chosen) if rows else 0) + len(templates)
    for work in (
        *((run.perturbed, each) for each in chosen if rows),
        *((run.template, t) for t in templates),
    ):
        results.append(work[0](work[1]))  # type: ignore[operator]
        if progress_fn is not None:
            progress_fn(len(results), total)
    return CheckReport(model.path, len(rows), run.accuracy, tuple(results), tuple(left_out))


def _chosen(
    tests: Iterable[str | Perturbation], rows: Sequence[Row], predictor: Predictor, options: CheckOptions
) -> tuple[list[Perturbation], list[str]]:
    """The perturbations, and what is left out."""
    named = [find_perturbation(each) if isinstance(each, str) else each for each in tests]
    for each in named:
        if each.needs and not is_installed(each.needs):
            raise UserError(f"the test {each.name} needs {each.needs}, which is not installed: {EXTRA}")
        if each.kind == DIRECTION and not predictor.has_labels:
            raise UserError(f"the test {each.name} compares probabilities of labels: it is for classifiers.")
        if each.name == "synonyms" and options.perturbation.synonyms is None:
            raise UserError("the test synonyms needs a list of them: give --synonyms=FILE.")
    if named:
        return named, []
    found, missing = [], []
    has_chinese = any(re.search(f"[{HAN}]", text) for row in rows for text in row)
    for each in all_perturbations():
        if each.needs and (not has_chinese or not is_installed(each.needs)):
            missing += [each.name] if has_chinese else []
        elif each.kind == DIRECTION and not predictor.has_labels:
            continue
        elif each.name != "synonyms" or options.perturbation.synonyms is not None:
            found.append(each)
    notes = [f"{' and '.join(missing)} need libraries that are not installed: {EXTRA}"] if missing else []
    return found, notes


class _Check:
    """The predictions for the texts as they are, asked for once, and the tests.

    Args:
        predictor: the model.
        rows: the texts.
        labels: of the texts, or None.
        options: see `CheckOptions`.
    """

    def __init__(
        self, predictor: Predictor, rows: list[Row], labels: Sequence[str] | None, options: CheckOptions
    ) -> None:
        self._predictor, self._rows, self._options = predictor, rows, options
        self._labels = labels if labels is None or predictor.has_labels else None
        self._plain = self._asked(rows)
        for label in dict.fromkeys(self._labels or ()):
            self._own_label(label, self._plain, "the column of labels")

    @property
    def accuracy(self) -> float | None:
        """Of the texts as they are; None without labels."""
        return self._accuracy(range(len(self._rows)), self._plain) if self._labels else None

    def _asked(self, rows: Sequence[Row]) -> list[Prediction]:
        return self._predictor.predict(rows) if rows else []

    def perturbed(self, test: Perturbation) -> Outcome:
        """One perturbation of all texts."""
        if test.kind == INPUT:
            return self._inputs(test)
        changed = [self._changed(row, test) for row in self._rows]
        places = [place for place, row in enumerate(changed) if row != self._rows[place]]
        before, after = [self._plain[place] for place in places], self._asked([changed[p] for p in places])
        failures = [
            Failure(
                self._rows[place],
                changed[place],
                old.answer,
                old.score,
                new.answer,
                new.scores.get(old.answer, new.score),
            )
            for place, old, new in zip(places, before, after, strict=True)
            if self._fails(test.kind, old, new)
        ]
        accuracy = None
        if self._labels is not None and test.kind == INVARIANCE and places:
            accuracy = self._accuracy(places, before), self._accuracy(places, after)
        unchanged = len(self._rows) - len(places)
        return Outcome(
            test.name, test.kind, test.summary, len(places), unchanged, _sorted(failures), accuracy
        )

    def _inputs(self, test: Perturbation) -> Outcome:
        texts = test.inputs(self._options.perturbation)
        rows = [(text,) * len(self._predictor.names) for text in texts]
        failures = [
            Failure(row, (), "a valid prediction", math.nan, each.answer, each.score)
            for row, each in zip(rows, self._asked(rows), strict=True)
            if not each.is_valid
        ]
        return Outcome(test.name, test.kind, test.summary, len(rows), 0, tuple(failures))

    def template(self, test: TemplateTest) -> Outcome:
        """One test of a file of templates."""
        found = self._asked(test.rows)
        label = self._own_label(test.label, found, f"the test {test.name!r}")
        if test.then:
            kind, failures = DIRECTION, self._directional(test, label, found)
        elif test.groups:
            kind, failures = INVARIANCE, _unequal(test, found)
        else:
            kind = FUNCTIONALITY
            failures = [
                Failure(row, (), label, math.nan, each.answer, each.score)
                for row, each in zip(test.rows, found, strict=True)
                if not self._is_answer(each.answer, label)
            ]
        return Outcome(test.name, kind, "", len(test.rows), 0, _sorted(failures))

    def _directional(self, test: TemplateTest, label: str, before: Sequence[Prediction]) -> list[Failure]:
        if not self._predictor.has_labels:
            raise UserError(
                f"the test {test.name!r} compares probabilities of a label: it is for classifiers."
            )
        failures = []
        for row, then, old, new in zip(
            test.rows, test.then, before, self._predictor.predict(test.then), strict=True
        ):
            change = new.scores[label] - old.scores[label]
            if (-change if test.change == "no_fall" else change) > test.tolerance:
                scores = old.scores[label], new.scores[label]
                failures.append(Failure(row, then, label, scores[0], new.answer, scores[1]))
        return failures

    def _changed(self, row: Row, test: Perturbation) -> Row:
        names, options = self._predictor.names, self._options
        which = self._predictor.appended if test.appends else self._predictor.changed
        return tuple(
            test.perturbed(text, options.perturbation, options.seed) if name in which else text
            for name, text in zip(names, row, strict=True)
        )

    def _fails(self, kind: str, before: Prediction, after: Prediction) -> bool:
        options = self._options
        if not after.is_valid:
            return True
        if kind == DIRECTION:
            label = before.answer
            if label not in before.scores:  # of a model with several labels for a text
                return False
            return after.scores[label] - before.scores[label] > options.direction_tolerance
        if self._predictor.kind == "similarity":
            return abs(after.score - before.score) > max(options.tolerance, 0.05)
        if before.answer == after.answer:
            return False
        fall = before.scores.get(before.answer, math.inf) - after.scores.get(before.answer, 0.0)
        return fall > options.tolerance

    def _accuracy(self, places: Iterable[int], found: Sequence[Prediction]) -> float:
        labels = self._labels or ()
        right = [
            self._is_answer(each.answer, labels[place]) for place, each in zip(places, found, strict=True)
        ]
        return sum(right) / len(right)

    def _is_answer(self, answer: str, label: str) -> bool:
        if self._predictor.has_labels:
            return self._parts(answer) == self._parts(label)
        return answer == comparable(one_line(label))

    def _parts(self, label: str) -> set[str]:
        """A label as it is compared; of a model with several labels for a text all of them."""
        separator = self._predictor.separator
        return {part.strip().casefold() for part in (label.split(separator) if separator else [label])}

    def _own_label(self, label: str, found: Sequence[Prediction], place: str) -> str:
        """A label as the model spells it.

        Raises:
            UserError: the model is a classifier that does not know it.
        """
        known = list(next((each.scores for each in found if each.scores), {}))
        if not label or not known or self._predictor.separator:
            return label
        own = next((each for each in known if self._parts(each) == self._parts(label)), None)
        if own is None:
            raise UserError(
                f"{place} has {label!r}, which is no label of this model; its labels are {', '.join(known)}."
            )
        return own


def _unequal(test: TemplateTest, found: Sequence[Prediction]) -> list[Failure]:
    """Rows whose prediction is not that of the first row of their group."""
    first: dict[int, tuple[Row, Prediction]] = {}
    failures = []
    for row, each, group in zip(test.rows, found, test.groups, strict=True):
        start, expected = first.setdefault(group, (row, each))
        if each.answer != expected.answer:
            score = each.scores.get(expected.answer, each.score)
            failures.append(Failure(start, row, expected.answer, expected.score, each.answer, score))
    return failures


def _sorted(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """The greatest change of the probability first; without probabilities in their order."""

    def fall(failure: Failure) -> float:
        change = abs(failure.score - failure.found_score)
        return -change if math.isfinite(change) else 0.0

    return tuple(sorted(failures, key=fall))
