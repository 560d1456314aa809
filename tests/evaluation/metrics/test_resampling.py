"""Intervals of measures that are no means: equal to the bootstrap where they are, and scikit-learn's figures inside."""

import numpy as np
import pytest
from sklearn import metrics

from tflm.evaluation.metrics.intervals import bootstrap
from tflm.evaluation.metrics.resampling import add_f1_intervals, bootstrap_measures, precision_recall_f1


def test_of_a_mean_it_is_the_bootstrap():
    values = np.random.default_rng(3).normal(size=40)
    low, high = bootstrap_measures(lambda counts: np.array([counts @ values / counts.sum()]), 40)[:, 0]
    assert (low, high) == pytest.approx(bootstrap(values)[1:])


def test_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    right, chosen = (rng.integers(0, 2, (30, 4)).astype(float) for _ in range(2))
    chosen[:, 3] = 0  # a label that was never given
    found = precision_recall_f1((right * chosen).sum(0), chosen.sum(0), right.sum(0))
    for rows, average in ((found[:4], None), (found[4], "micro"), (found[5], "macro")):
        expected = metrics.precision_recall_fscore_support(right, chosen, average=average, zero_division=0.0)
        np.testing.assert_allclose(rows, np.array(expected[:3], float).T)


def test_no_labels_at_all():
    assert precision_recall_f1(*[np.zeros(0)] * 3).tolist() == [[0.0] * 3] * 2
    measures = {"per_label": {}, "micro_f1": 0.0, "macro_f1": 0.0}
    add_f1_intervals(measures, *[np.zeros((3, 0))] * 3, [])
    assert measures["micro_f1_interval"] == measures["macro_f1_interval"] == [0.0, 0.0]
