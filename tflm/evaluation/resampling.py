"""Intervals of measures that are no mean of examples, such as F1: measured anew on examples drawn again."""

from collections.abc import Callable

import numpy as np

NUM_SAMPLES = 1000


def bootstrap_measures(
    measure_fn: Callable[[np.ndarray], np.ndarray], num_examples: int, seed: int = 0
) -> np.ndarray:
    """The ends of 95% percentile intervals (Efron and Tibshirani, 1993, section 13.3).

    >>> values = np.array([0.0, 1.0, 1.0, 1.0])
    >>> bootstrap_measures(lambda counts: np.array([counts @ values / counts.sum()]), num_examples=4)
    array([[0.25],
           [1.  ]])

    Args:
        measure_fn: how often each example is drawn, float64 [N], to measures, float [M]; not a number where the draw
            says nothing of one.
        num_examples: N.
        seed: of the draws; the same for two systems draws the same examples for both.
    Returns:
        float64 [2, M]: the low and the high end of each.
    """
    random, found = np.random.default_rng(seed), []
    for _ in range(NUM_SAMPLES):
        drawn = random.integers(0, num_examples, num_examples)
        found.append(measure_fn(np.bincount(drawn, minlength=num_examples).astype(np.float64)))
    return np.nanquantile(np.array(found), [0.025, 0.975], axis=0)


def precision_recall_f1(correct: np.ndarray, given: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Of each label, then micro, then macro; what has nothing to divide by is 0.

    Args:
        correct, given, support: float [C]: of each label how often it was found rightly, found, and right.
    Returns:
        float64 [C + 2, 3]: rows of precision, recall and F1.
    """
    correct, given, support = (np.append(each, each.sum()) for each in (correct, given, support))
    ratios = [
        np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)
        for top, bottom in ((correct, given), (correct, support), (2 * correct, given + support))
    ]
    rows = np.stack(ratios, axis=1)
    return np.concatenate([rows, rows[:-1].mean(axis=0, keepdims=True) if len(rows) > 1 else rows])


def add_f1_intervals(
    measures: dict, correct: np.ndarray, given: np.ndarray, support: np.ndarray, names: list[str]
) -> None:
    """Adds `NAME_interval` beside every precision, recall and F1 of `measures`: micro, macro and per label. For a
    label's own only draws count that have it.

    Args:
        measures: as `classification` and `span_scores` give them.
        correct, given, support: float [N, C], of each example and label.
        names: of the C labels, keys of `measures["per_label"]`.
    """

    occurs = support.sum(axis=0) > 0

    def measure(counts: np.ndarray) -> np.ndarray:
        wanted = counts @ support
        rows = precision_recall_f1(counts @ correct, counts @ given, wanted)
        rows[: len(wanted)][occurs & (wanted == 0)] = np.nan
        return rows

    ends = bootstrap_measures(measure, len(correct))
    rows = [measures["per_label"][name] for name in names]
    for place, (row, start) in enumerate(
        [*((row, "") for row in rows), (measures, "micro_"), (measures, "macro_")]
    ):
        for column, kind in enumerate(("precision", "recall", "f1")):
            row[f"{start}{kind}_interval"] = ends[:, place, column].tolist()
