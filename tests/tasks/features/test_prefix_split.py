"""A text cut in two, with the end of its document."""

import numpy as np
import tensorflow as tf

from tflm.tasks.features.prefix_split import split_prefix

ROWS = [[5, 6, 7, 3, 8, 9, 3, 5], [5, 6, 7, 8, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0], [0] * 8]


@tf.function
def split_rows(seed):
    lengths = tf.constant([8, 4, 1, 0])
    return split_prefix(tf.constant(ROWS), lengths, seed, start_id=1, separator_id=3, end_id=2)


def split(seed):
    return [part.to_list() for part in split_rows(tf.constant([seed, 0], tf.int64))]


def test_both_sides_and_where_a_target_ends():
    cuts = []
    for seed in range(200):
        for row, source, target in zip(ROWS, *split(seed), strict=True):
            text = [token for token in row if token]
            assert source[-1] == 2 and target[0] == 1
            cut = len(source) - 1
            assert source[:-1] == text[:cut]
            rest = text[cut:]
            expected = [*rest[: rest.index(3)], 2] if 3 in rest else rest
            assert target[1:] == expected
            if row is ROWS[0]:
                cuts.append(cut)
            if len(text) < 2:
                assert cut == len(text)
    counts = np.bincount(cuts, minlength=8)
    assert counts[0] == 0 and len(counts) == 8
    assert np.abs(counts[1:] - 200 / 7).max() < 5 * np.sqrt(200 / 7 * 6 / 7)  # 4e-6 for 7 of them


def test_the_seed_decides():
    assert split(3) == split(3)
    assert any(split(3) != split(seed) for seed in range(4, 9))
