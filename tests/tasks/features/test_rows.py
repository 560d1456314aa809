"""Rows cut and joined, against lists in Python."""

import pytest
import tensorflow as tf

from tflm.tasks.features.rows import join, keep_first, keep_last

ROWS = [[1, 2, 3], [4], [], [5, 6]]


def ragged(rows):
    return tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32)


def test_the_examples():
    rows = ragged([[1, 2, 3], [4]])
    assert keep_first(rows, 2).to_list() == [[1, 2], [4]]
    assert keep_last(rows, 2).to_list() == [[2, 3], [4]]
    assert join(1, ragged([[7, 8], [9]]), 2).to_list() == [[1, 7, 8, 2], [1, 9, 2]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_one_count_for_all(count):
    assert keep_first(ragged(ROWS), count).to_list() == [row[:count] for row in ROWS]
    assert keep_last(ragged(ROWS), count).to_list() == [
        row[len(row) - min(count, len(row)) :] for row in ROWS
    ]


def test_a_count_for_each_row():
    counts = tf.constant([2, 0, 5, 1])
    assert keep_first(ragged(ROWS), counts).to_list() == [[1, 2], [], [], [5]]
    assert keep_last(ragged(ROWS), counts).to_list() == [[2, 3], [], [], [6]]


def test_a_negative_count_keeps_nothing():
    assert keep_first(ragged(ROWS), -1).to_list() == [[], [], [], []]
    assert keep_last(ragged(ROWS), -1).to_list() == [[], [], [], []]


def test_join_of_several_parts():
    other = ragged([[10], [], [11, 12], [13]])
    assert join(1, ragged(ROWS), 2, other, 3).to_list() == [
        [1, *row, 2, *more, 3] for row, more in zip(ROWS, other.to_list(), strict=True)
    ]


def test_no_rows_at_all():
    empty = ragged([])
    assert (
        keep_first(empty, 3).to_list() == keep_last(empty, 3).to_list() == join(1, empty, 2).to_list() == []
    )


def test_in_a_graph_of_unknown_sizes():
    @tf.function(
        input_signature=[tf.RaggedTensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    )
    def both(rows, counts):
        return join(1, keep_first(rows, counts), 2), keep_last(rows, 2)

    first, last = both(ragged(ROWS), tf.constant([1, 1, 1, 0]))
    assert first.dtype == last.dtype == tf.int32
    assert first.to_list() == [[1, 1, 2], [1, 4, 2], [1, 2], [1, 2]]
    assert last.to_list() == [[2, 3], [4], [], [5, 6]]
