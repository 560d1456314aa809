"""The report of labels: measures of the model and of the regression over the same examples."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tflm.evaluation import report_labels

TRAIN = [{"text": t, "label": label} for t, label in [("good film", "pos"), ("bad film", "neg")] * 4]
HELD_OUT = [
    {"text": "good", "label": "pos"},
    {"text": "bad 中文", "label": "neg"},
    {"text": "film bad", "label": "neg"},
    {"text": "not good", "label": "neg"},
]


class Task:
    """Says pos of what holds "good", and is sure of it."""

    labels = ("neg", "pos")
    config = types.SimpleNamespace(label_separator="", text_pair=False)

    def signatures(self, model):
        del model

        def classify(text):
            good = tf.strings.regex_full_match(text, ".*good.*")
            scores = tf.one_hot(tf.cast(good, tf.int32), 2, on_value=0.9, off_value=0.1)
            return {"label": tf.where(good, "pos", "neg"), "scores": scores}

        return {"classify": classify}


def test_both_are_measured_on_the_same_examples():
    report = report_labels(Task(), None, HELD_OUT, TRAIN, batch_size=3)
    assert [text["answer"] for text in report["texts"]] == ["pos", "neg", "neg", "pos"]
    assert [text["score"] for text in report["texts"]] == [0.9] * 4
    assert report["this model"]["accuracy"] == 0.75
    low, high = report["this model"]["accuracy_interval"]
    assert 0.0 <= low < 0.75 < high <= 1.0
    assert report["this model"]["per_label"]["neg"]["recall"] == pytest.approx(2 / 3)
    assert report["this model"]["expected_calibration_error"] == pytest.approx(0.15, abs=1e-6)
    # The regression learned the same two words, and errs in the same place: nothing tells them apart.
    assert report["logistic regression"]["accuracy"] == 0.75
    assert report["p_value"] == 1.0


def test_without_a_baseline():
    report = report_labels(Task(), None, HELD_OUT, [])
    assert "logistic regression" not in report and "p_value" not in report
    assert np.isclose(report["this model"]["accuracy"], 0.75)
