"""Which tokens are missing, and that source and target together are the text; against plain Python."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.span_corruption import (
    corrupted_sources,
    count_spans,
    missing_targets,
    random_parts,
    random_spans,
)

START, END, SENTINELS = 1, 2, list(range(30, 60))
SETTINGS = [(64, 0.15, 3.0), (50, 0.5, 2.0), (33, 0.3, 1.0), (16, 0.9, 4.0), (12, 0.9, 1.0)]


def tensor_seed(seed):
    return tf.constant([seed, 9], tf.int64)


def rows_and_lengths(width, count, seed=0):
    """Tokens from 100 on, padded with 0; the first rows are full, the others of every length."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([np.full(count, width), np.arange(width + 1)])
    rows = rng.integers(100, 999, (len(lengths), width))
    return np.where(np.arange(width) < lengths[:, None], rows, 0).astype(np.int32), lengths


def merged(source, target):
    """The text: each sentinel of the source replaced by what stands after it in the target."""
    spans, current = {}, None
    for token in target[1:-1]:
        if token in SENTINELS:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    text = []
    for token in source[:-1]:
        text += spans[token] if token in SENTINELS else [token]
    return text


@pytest.mark.parametrize("width,density,mean_length", SETTINGS)
def test_source_and_target_together_are_the_text(width, density, mean_length):
    rows, lengths = rows_and_lengths(width, 40)
    spans = random_spans(tf.constant(lengths, tf.int32), width, tensor_seed(1), density, mean_length)
    sources = corrupted_sources(
        tf.constant(rows), tf.constant(lengths, tf.int32), spans, SENTINELS, END
    ).to_list()
    targets = missing_targets(tf.constant(rows), spans, SENTINELS, START, END).to_list()
    for row, length, source, target in zip(rows, lengths, sources, targets, strict=True):
        assert source[-1] == END and target[0] == START and target[-1] == END
        assert merged(source, target) == row[:length].tolist()
        used = [token for token in source if token in SENTINELS]
        assert used == [token for token in target if token in SENTINELS] == SENTINELS[: len(used)]
        # Exactly the promised numbers; with Python's round and no more than the text can bear.
        missing = max(min(max(round(length * density), 1), length - 1), 0)
        count = min(max(round(missing / mean_length), 1), missing, length - missing + 1)
        assert len(used) == count and len(target) == missing + count + 2
        assert len(source) == length - missing + count + 1
        # Spans do not touch.
        assert all(not (a in SENTINELS and b in SENTINELS) for a, b in itertools.pairwise(source))


def test_one_mask_for_all_spans():
    rows, lengths = rows_and_lengths(20, 10)
    spans = random_spans(tf.constant(lengths, tf.int32), 20, tensor_seed(2), 0.4, 2.0)
    numbered = corrupted_sources(
        tf.constant(rows), tf.constant(lengths, tf.int32), spans, SENTINELS, END
    ).to_list()
    masked = corrupted_sources(tf.constant(rows), tf.constant(lengths, tf.int32), spans, [4], END).to_list()
    assert masked == [[4 if token in SENTINELS else token for token in row] for row in numbered]


def test_every_token_is_missing_equally_often_but_for_the_ends():
    """In the middle each token is missing with nearly the same chance; a span may stand at either end."""
    width, count = 40, 4000
    spans = random_spans(tf.fill([count], width), width, tensor_seed(3), 0.15, 3.0)
    share = spans.is_missing.numpy().mean(0)
    assert share.mean() == pytest.approx(0.15)
    assert share[0] > 0.02 and share[-1] > 0.02
    assert np.abs(share[4:-4] - share[4:-4].mean()).max() < 5 * np.sqrt(
        0.17 * 0.83 / count
    )  # 2e-5 for 32 of them


def test_every_way_to_cut_is_equally_likely():
    count = 6000
    parts = random_parts(tf.fill([count], 6), tf.fill([count], 3), 6, 4, tensor_seed(4)).numpy()
    ways, counts = np.unique(parts, axis=0, return_counts=True)
    expected = [(a, b, 6 - a - b, 0) for a in range(1, 5) for b in range(1, 6 - a)]
    assert sorted(map(tuple, ways)) == expected  # all 10
    assert np.abs(counts - 600).max() < 5 * np.sqrt(600 * 0.9)  # 6e-6 for 10 of them


def test_parts_of_rows_with_other_numbers():
    items, parts = [5, 3, 0, 1, 5], [2, 3, 0, 1, 5]
    found = random_parts(tf.constant(items), tf.constant(parts), 5, 5, tensor_seed(5)).numpy()
    np.testing.assert_array_equal(found.sum(1), items)
    np.testing.assert_array_equal((found > 0).sum(1), parts)
    assert found[4].tolist() == [1] * 5 and found[1].tolist() == [1, 1, 1, 0, 0]


def test_counts_by_hand():
    missing, spans = count_spans(np.array([0, 1, 2, 10, 512]), 0.15, 3.0)
    assert missing.tolist() == [0, 0, 1, 2, 77] and spans.tolist() == [0, 0, 1, 1, 26]


def test_the_seed_decides():
    draws = [
        random_spans(tf.fill([3], 50), 50, tensor_seed(s), 0.3, 2.0).is_missing.numpy() for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
