"""Measures of classification: accuracy, precision, recall and F1, and how far probabilities can be believed."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError


def classification(
    labels: Sequence[str | Collection[str]],
    predictions: Sequence[str | Collection[str]],
    scores: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measures of one label an example, given as a text, or of several, given as a set or list of texts.

    Precision and recall of a label that was never predicted, or is nowhere, are 0. Macro is the mean over the labels,
    micro counts all decisions alike; with one label an example, micro F1 is the accuracy. With several, an example
    is correct where all its labels were found and no other.

    Args:
        labels: what is right, N of them.
        predictions: what came, in the same order.
        scores: float [N, C], the probability of each label, for the calibration error.
        names: the C labels in the order of `scores`; by default those that occur, sorted.
    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1`, `micro_...` likewise, with `scores` also
        `expected_calibration_error`, all from 0 to 1; and `per_label`: of each name its `precision`, `recall`, `f1`
        and `support`, which is how often it is right.
    Raises:
        UserError: scikit-learn is not installed, the numbers of examples differ, there are none, or a label is not
            among the names.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise UserError(
            "measures of classification need the package scikit-learn: pip install 'tflm[eval]'."
        ) from error
    if not len(labels) or len(labels) != len(predictions):
        raise UserError(
            f"{len(labels)} labels and {len(predictions)} predictions: give one for each, one at least."
        )
    several = not isinstance(labels[0], str)
    wanted, found = (_sets(side) for side in (labels, predictions))
    names = sorted(set().union(*wanted, *found)) if names is None else list(names)
    right, chosen = (_indicators(side, names) for side in (wanted, found))
    measures: dict[str, Any] = {"accuracy": float((right == chosen).all(axis=1).mean())}
    for average in ("macro", "micro"):
        values = metrics.precision_recall_fscore_support(right, chosen, average=average, zero_division=0.0)
        for kind, value in zip(("precision", "recall", "f1"), values):
            measures[f"{average}_{kind}"] = float(value)
    if scores is not None:
        measures["expected_calibration_error"] = _calibration(np.asarray(scores), right, chosen, several)
    columns = metrics.precision_recall_fscore_support(right, chosen, average=None, zero_division=0.0)
    measures["per_label"] = {
        name: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(names, *columns)
    }
    return measures


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, on average over bins of confidence (Guo et al., 2017, equation 5).

    >>> expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0])  # 0.1 apart in both bins
    0.1

    Args:
        confidences: float [N], the probability of what was predicted.
        correct: [N], 1 or True where it was right.
        num_bins: of equal width; a bin holds its upper border.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    bins = np.digitize(confidences, np.linspace(0, 1, num_bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bins, weights=confidences - correct)).sum() / len(confidences))


def _calibration(scores: np.ndarray, right: np.ndarray, chosen: np.ndarray, several: bool) -> float:
    """One label: the probability of the predicted one. Several: each label is a decision of its own, and its
    probability is compared with how often it is there."""
    if scores.shape != right.shape:
        raise UserError(
            f"scores have the shape {list(scores.shape)}; expected a row for each example and a column for each "
            f"label: {list(right.shape)}."
        )
    if several:
        return expected_calibration_error(scores.ravel(), right.ravel())
    return expected_calibration_error(scores[chosen], right[chosen])


def _sets(side: Sequence[str | Collection[str]]) -> list[set[str]]:
    return [{labels} if isinstance(labels, str) else set(labels) for labels in side]


def _indicators(sets: Sequence[set[str]], names: Sequence[str]) -> np.ndarray:
    """bool [N, C]."""
    unknown = set().union(*sets) - set(names)
    if unknown:
        raise UserError(
            f"the label {min(unknown)!r} is not among the names {', '.join(names[:20])}. Correct these rows, or leave "
            "them out."
        )
    return np.array([[name in labels for name in names] for labels in sets])
