"""Bootstrap intervals of metrics that are not means over examples, such as F1: recomputed on every resample."""

from collections.abc import Callable

import numpy as np

from tflm.evaluation.metrics.intervals import bootstrap_distribution

NUM_SAMPLES = 1000


def bootstrap_measures(
    measure_fn: Callable[[np.ndarray], np.ndarray], num_examples: int, seed: int = 0
) -> np.ndarray:
    """95% percentile bootstrap intervals (Efron and Tibshirani, 1993, section 13.3).

    >>> values = np.array([0.0, 1.0, 1.0, 1.0])
    >>> bootstrap_measures(lambda counts: np.array([counts @ values / counts.sum()]), num_examples=4)
    array([[0.25],
           [1.  ]])

    Args:
        measure_fn: maps the number of times that each example is in the resample, float64 [N], to M metrics, a float
            array of any shape; NaN for metrics that are undefined on the resample, which are ignored.
        num_examples: int, N.
        seed: int. Equal seeds resample the same examples, also for another system.
    Returns:
        float64 [2, ...]: lower and upper bounds, each of the shape of the metrics.
    """

    def metrics(indices: np.ndarray) -> np.ndarray:
        counts = (np.bincount(row, minlength=num_examples).astype(np.float64) for row in indices)
        return np.stack([measure_fn(each) for each in counts], axis=-1)

    samples = bootstrap_distribution(metrics, num_examples, NUM_SAMPLES, seed)
    return np.nanquantile(samples, [0.025, 0.975], axis=-1)


def precision_recall_f1(correct: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of each label, then micro-averaged, then macro-averaged; undefined ratios are 0.

    Args:
        correct, predicted, support: float [C]: true positives, predictions and gold occurrences of each label.
    Returns:
        float64 [C + 2, 3]: rows of precision, recall and F1.
    """
    correct, predicted, support = (np.append(each, each.sum()) for each in (correct, predicted, support))
    ratios = [
        np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)
        for top, bottom in ((correct, predicted), (correct, support), (2 * correct, predicted + support))
    ]
    rows = np.stack(ratios, axis=1)
    return np.concatenate([rows, rows[:-1].mean(axis=0, keepdims=True) if len(rows) > 1 else rows])


def add_f1_intervals(
    measures: dict, correct: np.ndarray, predicted: np.ndarray, support: np.ndarray, names: list[str]
) -> None:
    """Adds `NAME_interval` to every precision, recall and F1 of `measures`: micro, macro and per label. Intervals of a
    label use only resamples that contain the label.

    Args:
        measures: result of `classification` or `span_scores`; modified in place.
        correct, predicted, support: float [N, C], counts for each example and label, see `precision_recall_f1`.
        names: the C labels, keys of `measures["per_label"]`.
    """

    occurs = support.sum(axis=0) > 0

    def measure(counts: np.ndarray) -> np.ndarray:
        resampled = counts @ support
        rows = precision_recall_f1(counts @ correct, counts @ predicted, resampled)
        rows[: len(resampled)][occurs & (resampled == 0)] = np.nan
        return rows

    ends = bootstrap_measures(measure, len(correct))
    rows = [measures["per_label"][name] for name in names]
    for place, (row, start) in enumerate(
        [*((row, "") for row in rows), (measures, "micro_"), (measures, "macro_")]
    ):
        for column, kind in enumerate(("precision", "recall", "f1")):
            row[f"{start}{kind}_interval"] = ends[:, place, column].tolist()
