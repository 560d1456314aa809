"""The best spans: known ones, and all of them tried one by one; texts that differ."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.best_spans import LOWEST, ScoredSpans, best_spans, join_windows, keep_distinct


@pytest.mark.parametrize("max_length", [1, 3, 20])
def test_equals_trying_them_all(max_length):
    random = np.random.default_rng(0)
    start, end = random.normal(size=(2, 4, 9)).astype(np.float32)
    allowed = random.random((4, 9)) < 0.7
    allowed[3] = False
    found = best_spans(tf.constant(start), tf.constant(end), tf.constant(allowed), max_length, 12)
    for row in range(4):
        spans = [
            (start[row, first] + end[row, last], first, last)
            for first in range(9)
            for last in range(first, min(9, first + max_length))
            if allowed[row, first] and allowed[row, last]
        ]
        wanted = sorted(spans, reverse=True)[:12]
        count = int(tf.math.count_nonzero(found.is_real()[row]))
        assert count == len(wanted)
        assert list(zip(found.start[row].numpy()[:count], found.end[row].numpy()[:count])) == [
            span[1:] for span in wanted
        ]
        np.testing.assert_allclose(found.score[row, :count], [span[0] for span in wanted], rtol=1e-5)
        assert (found.score[row, count:].numpy() < LOWEST / 2).all()


def test_windows_are_joined():
    spans = ScoredSpans(
        tf.constant([[6.0, 1.0], [7.0, LOWEST], [2.0, 1.5]]), *tf.constant([[[2, 3], [4, 0], [5, 6]]] * 2)
    )
    found = join_windows(spans, tf.constant([0, 0, 1]), tf.constant(2))
    assert found.score.numpy().tolist() == [[7.0, 6.0], [2.0, 1.5]]
    assert found.start.numpy().tolist() == found.end.numpy().tolist() == [[4, 2], [5, 6]]


def test_distinct_texts_come_first():
    texts = tf.constant([["a", "b", "a", "c"], ["", "", "x", "x"]])
    real = tf.constant([[True, True, True, True], [False, False, True, True]])
    order, new = keep_distinct(texts, real, 3)
    assert order.numpy()[0].tolist() == [0, 1, 3]
    assert order.numpy()[1, 0] == 2
    assert new.numpy().tolist() == [[True, True, True], [True, False, False]]
