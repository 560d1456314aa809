"""Classification metrics: accuracy, precision, recall, F1 and calibration."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tflm.data import UnknownLabelError
from tflm.errors import UserError


def classification(
    labels: Sequence[str | Collection[str]],
    predictions: Sequence[str | Collection[str]],
    scores: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Metrics of single-label classification (labels are strings) or multi-label classification (sets or lists of
    strings).

    Undefined precision and recall are 0. Macro averages are means over the labels, micro averages count all decisions;
    in single-label classification, micro F1 equals the accuracy. Multi-label accuracy is exact match of the label sets.

    Args:
        labels: N gold labels.
        predictions: N predicted labels in the same order.
        scores: float [N, C], probability of each label, for the calibration error.
        names: the C labels in the order of `scores`; by default all labels that occur, sorted.
    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1`, the same with `micro_`, and with `scores`
        `expected_calibration_error`, all in [0, 1]; and `per_label`: `precision`, `recall`, `f1` and `support` (number
        of gold examples) of each label.
    Raises:
        UserError: scikit-learn is not installed, the numbers of examples differ or are 0, or a label is not among the
            names.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise UserError(
            "classification metrics need the package scikit-learn: pip install 'tflm[eval]'."
        ) from error
    if not len(labels) or len(labels) != len(predictions):
        raise UserError(
            f"found {len(labels)} labels and {len(predictions)} predictions; expected equal numbers, at least one each."
        )
    several = not isinstance(labels[0], str)
    if names is None:
        names = sorted(set().union(*_sets(labels), *_sets(predictions)))
    right, chosen = (multi_hot(side, names) for side in (labels, predictions))
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
    """Expected calibration error: mean difference of confidence and accuracy over confidence bins (Guo et al., 2017,
    equation 5).

    >>> expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0])  # a difference of 0.1 in both bins
    0.1

    Args:
        confidences: float [N], probability of the prediction.
        correct: bool or float [N], 1 for correct predictions.
        num_bins: int, number of bins of equal width, each including its upper edge.
    Returns:
        float in [0, 1].
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    bins = np.digitize(confidences, np.linspace(0, 1, num_bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bins, weights=confidences - correct)).sum() / len(confidences))


def _calibration(scores: np.ndarray, right: np.ndarray, chosen: np.ndarray, several: bool) -> float:
    """Calibration error of the predicted label, or for multi-label classification of all binary decisions."""
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


def multi_hot(side: Sequence[str | Collection[str]], names: Sequence[str]) -> np.ndarray:
    """Labels of N examples, one or several each, as bool [N, C].

    Raises:
        UnknownLabelError: a label is not among the names.
    """
    sets = _sets(side)
    unknown = set().union(*sets) - set(names)
    if unknown:
        raise UnknownLabelError(
            f"the label {min(unknown)!r} is not among the names {', '.join(names[:20])}. Correct these rows, or leave "
            "them out.",
            names,
        )
    return np.array([[name in labels for name in names] for labels in sets])
