"""Answers come back in the order of the texts, whatever the batches; the first batch is not timed."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.evaluation.reports.answers import BatchedAnswers, signature_fn

TEXTS = ["longest of all", "", "中文", "b", "ccc"]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2, autograph=False)
def joined(text, text_pair):
    return {"text": text + "|" + text_pair, "length": tf.strings.length(text, unit="UTF8_CHAR")}


def test_order_and_names():
    sizes = []

    def counted(columns):
        sizes.append(len(columns["text"]))
        return signature_fn(joined)(columns)

    pairs = ["1", "2", "三", "4", ""]
    answer = BatchedAnswers(counted, batch_size=2)
    found = answer({"text": TEXTS, "text_pair": pairs})
    assert found["text"].tolist() == [f"{a}|{b}" for a, b in zip(TEXTS, pairs, strict=True)]
    assert found["length"].tolist() == [14, 0, 2, 1, 3]
    assert sizes == [2, 2, 2, 1], "the first batch twice: once before the clock"
    answer({"text": ["a"], "text_pair": ["b"]})
    assert sizes[4:] == [1], "it is warm now"
    assert answer.num_rows == 6
    assert answer({"text": [], "text_pair": []}) == {}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_rows_of_unequal_width(batch_size):
    """As numbers of spans are: a batch is as wide as its widest row."""

    def letters(columns):
        rows = [list(text) for text in columns["text"]]
        width = max(map(len, rows))
        return {
            "letters": np.array(
                [[x.encode() for x in row] + [b""] * (width - len(row)) for row in rows], object
            ),
            "places": np.array(
                [[*range(1, len(row) + 1)] + [-1] * (width - len(row)) for row in rows], np.int32
            ),
            "num": np.array([len(row) for row in rows]),
        }

    found = BatchedAnswers(letters, batch_size)({"text": TEXTS})
    assert found["letters"].shape == found["places"].shape == (5, 14)
    for text, row, places, num in zip(TEXTS, found["letters"], found["places"], found["num"], strict=True):
        assert "".join(row) == text
        assert places[:num].tolist() == [*range(1, len(text) + 1)]


def test_speed_is_that_of_what_was_timed(monkeypatch):
    clock = iter([10.0, 12.0, 20.0, 21.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    answer = BatchedAnswers(lambda columns: {"n": np.arange(len(columns["text"]))}, batch_size=3)
    assert answer.rows_per_second == 0.0
    answer({"text": ["a"] * 6})
    assert answer.rows_per_second == 2.0
