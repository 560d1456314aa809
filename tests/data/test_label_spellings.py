"""Which labels are one, and which are warned of."""

import logging

import pytest

from tflm.data.labels import find_spelling, label_key, one_spelling
from tflm.tasks import find_labels
from tflm.tasks.tagging import find_span_labels


def labels_of(*labels):
    return find_labels({"text": "x", "label": label} for label in labels)


@pytest.mark.parametrize(
    "labels, expected",
    [
        (("0", "0.0", "1", "1.00"), ["0", "1"]),
        (("1.0", "0.0"), ["0.0", "1.0"]),  # alone they stay as they are written
        (("-0.0", "0", "-3.0", "-3"), ["0", "-3"]),
        (("True", "true", "false"), ["True", "false"]),
        ((" good ", "good", "bad"), ["bad", "good"]),
        (("Zoe\u0301", "Zoé", "类别"), ["Zoé", "类别"]),
        (("3.1", "3.10", "07", "7"), ["7", "07", "3.1", "3.10"]),  # versions, codes
        (("False", "0"), ["0", "False"]),
    ],
)
def test_spellings_of_one_label_are_joined(labels, expected):
    assert sorted(labels_of(*labels)) == sorted(expected)


def test_several_labels_of_an_example_are_joined():
    examples = [{"text": "x", "label": label} for label in ("1.0|a", "1 | a\u0301", "á")]
    assert find_labels(examples, "|") == ["1", "a", "á"]


@pytest.mark.parametrize(
    "labels, named",
    [
        (("Good", "good", "good"), "'Good' (1), 'good' (2) differ only in case"),
        (("ＵＳ", "US"), "'US' (1), 'ＵＳ' (1) differ only in case"),
        (("new york", "newyork"), "'new york' (1), 'newyork' (1) differ only"),
        (
            ("True", "False", "0", "1"),
            "'False' (1), 'True' (1) and '0' (1), '1' (1) are classes of their own",
        ),
    ],
)
def test_labels_that_look_alike_are_warned_of(labels, named, caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        assert len(labels_of(*labels)) == len(set(labels))
    assert named in caplog.text


def test_labels_that_differ_are_not_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "absl"):
        labels_of("good", "bad", "好", "坏", "1", "2", "True")
    assert "classes of their own" in caplog.text  # True and 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, "absl"):
        labels_of("good", "bad", "好", "坏", "0", "1")
    assert not caplog.text


def test_the_spelling_of_what_is_known():
    spelling_of = find_spelling(("0", "True", "é"))
    assert [spelling_of(label) for label in ("0.0", "true", "e\u0301", "1", "E\u0301")] == [
        "0", "True", "é", None, None,
    ]  # fmt: skip
    # Runs from before have both as classes: each stays what it is.
    spelling_of = find_spelling(("0", "0.0"))
    assert [spelling_of(label) for label in ("0", "0.0", "0.00")] == ["0", "0.0", "0"]


def test_labels_of_spans():
    spans = '[[0, 1, "Fe\u0301"], [2, 3, "Fé"], [4, 5, "LOC"]]'
    assert find_span_labels([{"text": "a b c", "spans": spans}]) == ["Fé", "LOC"]


def test_every_spelling_leads_to_one_with_the_same_key():
    labels = ["1", "1.0", "true", "TRUE", "e\u0301", "é", "x"]
    found = one_spelling(labels)
    assert list(found) and all(label_key(found[label]) == label_key(label) for label in labels)
    assert len(set(found.values())) == 4
