"""Measures of classification: by hand, and beside scikit-learn called with plain labels."""

import sys

import numpy as np
import pytest
from sklearn import metrics

from tflm.errors import UserError
from tflm.evaluation import classification, expected_calibration_error

LABELS = ["good", "good", "bad", "bad", "bad", "so-so"]
FOUND = ["good", "bad", "bad", "bad", "good", "bad"]


def test_one_label_by_hand():
    found = classification(LABELS, FOUND)
    assert found["accuracy"] == found["micro_f1"] == pytest.approx(3 / 6)
    # bad: 2 of 4 predicted are right, 2 of 3 found. good: 1 of 2, 1 of 2. so-so: never predicted.
    assert found["per_label"]["bad"] == {
        "precision": 0.5,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 7),
        "support": 3,
    }
    assert found["per_label"]["so-so"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert found["macro_f1"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert found["macro_precision"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert "expected_calibration_error" not in found


def test_one_label_equals_scikit_learn():
    random = np.random.default_rng(0)
    names = ["书籍", "平板", "手机", "水果"]
    labels, predictions = ([names[i] for i in random.integers(0, 4, 200)] for _ in range(2))
    found = classification(labels, predictions, names=names)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert found["macro_recall"] == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
    assert list(found["per_label"]) == names


def test_several_labels_by_hand():
    labels = [{"red", "round"}, ["red"], {"round"}, set()]
    predictions = [{"red", "round"}, {"red", "round"}, set(), set()]
    found = classification(labels, predictions)
    assert found["accuracy"] == pytest.approx(2 / 4), "all labels and no other"
    # Decisions: 3 of 4 predicted are right, 3 of 4 wanted are found.
    assert found["micro_precision"] == found["micro_recall"] == found["micro_f1"] == pytest.approx(3 / 4)
    assert found["per_label"]["red"]["f1"] == 1.0
    assert found["per_label"]["round"]["precision"] == pytest.approx(1 / 2)


def test_a_name_that_never_occurs_counts_in_the_macro():
    found = classification(["a", "b"], ["a", "b"], names=["a", "b", "c"])
    assert found["macro_f1"] == pytest.approx(2 / 3) and found["per_label"]["c"]["support"] == 0


def test_calibration_by_hand():
    # Bins of 1/15: 0.61 and 0.65 share one (0.6, 0.6667], 0.9 another.
    found = expected_calibration_error(np.array([0.61, 0.65, 0.9, 0.9]), np.array([1, 0, 1, 1]))
    assert found == pytest.approx(2 / 4 * abs(0.63 - 0.5) + 2 / 4 * abs(0.9 - 1.0))
    # Too sure and too unsure in the same bin cancel out; in two bins they do not.
    assert expected_calibration_error(np.array([0.6, 0.6]), np.array([1, 0]), num_bins=1) == pytest.approx(
        0.1
    )


def test_a_bin_holds_its_upper_border():
    # With ten bins 0.2 is in (0.1, 0.2] and 0.21 in (0.2, 0.3]: two bins, errors add up.
    found = expected_calibration_error(np.array([0.2, 0.21]), np.array([1, 0]), num_bins=10)
    assert found == pytest.approx((0.8 + 0.21) / 2)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0.0


def test_calibration_of_what_was_predicted():
    scores = np.array([[0.8, 0.2], [0.3, 0.7]])
    found = classification(["a", "a"], ["a", "b"], scores, ["a", "b"])
    assert found["expected_calibration_error"] == pytest.approx((abs(0.8 - 1) + abs(0.7 - 0)) / 2)


def test_calibration_of_several_labels_is_of_each_decision():
    scores = np.array([[0.95, 0.4], [0.95, 0.4]])
    found = classification([["a"], ["a", "b"]], [["a"], ["a"]], scores, ["a", "b"])
    assert found["expected_calibration_error"] == pytest.approx((0.05 + 0.1) / 2)


def test_refusals(monkeypatch):
    with pytest.raises(
        UserError, match=r"2 labels and 1 predictions; expected equal numbers, at least one each"
    ):
        classification(["a", "b"], ["a"])
    with pytest.raises(UserError, match=r"0 labels and 0 predictions"):
        classification([], [])
    with pytest.raises(
        UserError, match=r"the label 'c' is not among the names a, b. Correct these rows, or leave them out"
    ):
        classification(["a"], ["c"], names=["a", "b"])
    with pytest.raises(UserError, match=r"scores have the shape \[1, 3\]; expected .*: \[1, 2\]"):
        classification(["a"], ["b"], np.zeros([1, 3]), ["a", "b"])
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"need the package scikit-learn: pip install 'tflm\[eval\]'"):
        classification(["a"], ["a"])
