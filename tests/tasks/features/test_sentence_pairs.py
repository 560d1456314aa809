"""Segments that follow each other, or those of another row, or in the other order."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.sentence_pairs import cut_segments, draw_pairs

ROWS = [
    [row * 100 + place for place in range(1, length + 1)]
    for row, length in enumerate([5, 9, 1, 2, 30, 7, 3, 12])
]


def ragged():
    return tf.ragged.constant(ROWS, dtype=tf.int32, row_splits_dtype=tf.int64)


@tf.function
def draw(objective, seed, room):
    pairs = draw_pairs(tf.constant([len(row) for row in ROWS]), seed, objective)
    return pairs, *cut_segments(ragged(), pairs, room)


def drawn(objective, seed, room=99):
    pairs, first, second = draw(objective, tf.constant([seed, 3], tf.int64), room)
    return pairs, first.to_list(), second.to_list()


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_labels_say_what_the_segments_are(objective):
    labels, cuts = [], set()
    for seed in range(60):
        pairs, firsts, seconds = drawn(objective, seed)
        for row, (first, second, label, is_pair) in enumerate(
            zip(firsts, seconds, pairs.labels.numpy(), pairs.are_pairs.numpy(), strict=True)
        ):
            assert is_pair == (len(ROWS[row]) > 1)
            if not is_pair:
                assert (first, second, label) == (ROWS[row], [], 1)
                continue
            assert first and second
            labels.append(label)
            if row == 4:
                cuts.add(int(pairs.num_first[4]))
            if label:
                assert first + second == ROWS[row]
            elif objective == "sentence_order":
                assert second + first == ROWS[row]
            else:
                assert first == ROWS[row][: len(first)]
                other = second[0] // 100
                assert other != row and second == ROWS[other][-len(second) :]
    share, trials = np.mean(labels), len(labels)
    # Of rows whose partner is the one that is too short, one in 49 of the pairs, both labels are 1.
    expected = 0.5 + (0.5 / 7 if objective == "next_sentence" else 0.0)
    assert abs(share - expected) < 5 * 0.5 / np.sqrt(trials)  # 6e-7, were the shifts independent for each row
    assert len(cuts) > 15 and min(cuts) >= 1 and max(cuts) <= 29


def test_features_of_a_token_stay_together_and_fit():
    for seed in range(20):
        pairs, firsts, seconds = drawn("next_sentence", seed, room=31)
        twins = [part.to_list() for part in cut_segments(ragged() + 1000, pairs, 31)]
        assert twins == [[[token + 1000 for token in row] for row in part] for part in (firsts, seconds)]
        for row, (first, second, other) in enumerate(
            zip(firsts, seconds, pairs.sources[1].numpy(), strict=True)
        ):
            assert first == ROWS[row][: len(first)]
            whole = ROWS[other][int(pairs.num_first[other]) :]
            assert second == whole[: 31 - len(first)]


def test_one_row_alone_always_goes_on():
    for seed in range(10):
        pairs = draw_pairs(tf.constant([6]), tf.constant([seed, 0], tf.int64), "next_sentence")
        assert pairs.labels.numpy().tolist() == [1]
