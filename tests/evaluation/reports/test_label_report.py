"""The report of labels: measures of the model and of the regression over the same examples."""

import math

import numpy as np
import pytest

from tflm.evaluation import regression_baseline, report_labels

TRAIN = [{"text": t, "label": label} for t, label in [("good film", "pos"), ("bad film", "neg")] * 4]
HELD_OUT = [
    {"text": "good", "label": "pos"},
    {"text": "bad 中文", "label": "neg"},
    {"text": "film bad", "label": "neg"},
    {"text": "not good", "label": "neg"},
]


def classify(columns):
    """Says pos of what holds "good", and is sure of it."""
    good = np.array(["good" in text for text in columns["text"]])
    return {
        "label": np.where(good, "pos", "neg"),
        "scores": np.where(good[:, None], [0.1, 0.9], [0.9, 0.1]),
        "labels": np.tile(["neg", "pos"], (len(good), 1)),
    }


def test_the_model():
    report = report_labels(classify, HELD_OUT)
    assert [text["answer"] for text in report["texts"]] == ["pos", "neg", "neg", "pos"]
    assert [text["score"] for text in report["texts"]] == [0.9] * 4
    measures = report["this model"]
    assert measures["accuracy"] == 0.75
    assert measures["loss"] == pytest.approx(-(3 * math.log(0.9) + math.log(0.1)) / 4)
    assert measures["per_label"]["neg"]["recall"] == pytest.approx(2 / 3)
    assert measures["expected_calibration_error"] == pytest.approx(0.15, abs=1e-5)


def test_the_score_is_that_of_the_chosen_label():
    """Which need not be the most probable one: see `task.label_weights`."""

    def careful(columns):
        return {**classify(columns), "label": np.full(len(columns["text"]), "neg")}

    texts = report_labels(careful, HELD_OUT)["texts"]
    assert [text["score"] for text in texts] == [0.1, 0.9, 0.9, 0.1]


def test_every_figure_has_an_interval_around_it():
    measures = report_labels(classify, HELD_OUT)["this model"]
    rows = [measures, *measures["per_label"].values()]
    names = [(row, name) for row in rows for name, value in row.items() if isinstance(value, float)]
    assert len(names) == 9 + 2 * 3
    for row, name in names:
        low, high = row[f"{name}_interval"]
        assert low <= row[name] + 1e-9 and row[name] <= high + 1e-9, name
    assert measures["accuracy_interval"][0] < measures["accuracy_interval"][1]


def test_the_regression_baseline_it():
    report = report_labels(classify, HELD_OUT)
    report |= regression_baseline(report, TRAIN)
    # The regression learned the same two words, and errs in the same place: nothing tells them apart.
    assert report["logistic regression"]["accuracy"] == 0.75
    assert report["p_value"] == 1.0


def test_labels_in_another_spelling():
    def classify_numbers(columns):
        found = classify(columns)
        return {
            **found,
            "label": np.where(found["label"] == "pos", "1", "0"),
            "labels": np.tile(["0", "1"], (len(columns["text"]), 1)),
        }

    names = {"pos": ("1", "1.0"), "neg": ("0.0", "0")}
    held_out, train = (
        [{**each, "label": names[each["label"]][place % 2]} for place, each in enumerate(side)]
        for side in (HELD_OUT, TRAIN + TRAIN[1:])
    )
    report = report_labels(classify_numbers, held_out)
    assert report["this model"]["accuracy"] == 0.75
    assert {text["label"] for text in report["texts"]} == {"0", "1"}
    assert set(regression_baseline(report, train)["logistic regression"]["per_label"]) == {"0", "1"}


def test_several_labels_of_pairs():
    def classify_pairs(columns):
        assert set(columns) == {"text", "text_pair"}
        return {
            "label": np.array(["a|b", "b", ""]),
            "scores": np.array([[0.8, 0.6], [0.2, 0.7], [0.4, 0.1]]),
            "labels": np.tile(["a", "b"], (3, 1)),
        }

    examples = [{"text": "x", "text_pair": "y", "label": label} for label in ("b | a", "b", "a")]
    report = report_labels(classify_pairs, examples, separator="|")
    assert [text["right"] for text in report["texts"]] == [True, True, False]
    products = (0.8 * 0.6) * (0.8 * 0.7) * (0.4 * 0.9)
    assert report["this model"]["loss"] == pytest.approx(-math.log(products) / 3)
    low, high = report["this model"]["micro_f1_interval"]
    assert low < report["this model"]["micro_f1"] < high
