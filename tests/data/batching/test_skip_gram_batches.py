"""Pairs of words: each distance, word and noise word as often as the paper says; the same for the same seed."""

import numpy as np
import pytest

from tflm.data.batching.skip_gram_batches import SkipGramBatches
from tflm.errors import UserError


@pytest.fixture
def make(make_store):
    """make(rows, batch_size=..., window=...) -> SkipGramBatches over these rows."""

    def make_batches(rows, batch_size=8, **changes):
        options = {"window": 3, "subsample": 0.0, "num_negatives": 2, "seed": 0, "training": True}
        options = {**options, **changes}
        vocab_size = max(max(row) for row in rows if row) + 1
        return SkipGramBatches(make_store(rows), batch_size, vocab_size=vocab_size, **options)

    return make_batches


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def read(batches, count, start=0):
    """Name to an array of all batches: [N, ...]."""
    found = [{name: x.numpy() for name, x in batch.items()} for batch in batches.dataset(start).take(count)]
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def test_shapes(make):
    batches = make([list(range(5, 100))], batch_size=4)
    [batch] = batches.dataset().take(1)
    for name, spec in batches.element_spec.items():
        assert spec.is_compatible_with(batch[name]), name
    assert batch["negatives"].shape == (4, 2)


def test_a_distance_comes_as_often_as_windows_hold_it(make):
    """Windows of 1, 2 and 3 with equal chance: distances 3 : 2 : 1, before and after alike."""
    pairs = read(make([list(range(1, 20001))], batch_size=2000), 20)
    assert (pairs["loss_weights"] == 1).all()
    distances = pairs["targets"] - pairs["token_ids"]
    shares = {d: float((distances == d).mean()) for d in (-3, -2, -1, 1, 2, 3)}
    assert sum(shares.values()) == 1.0
    for d, share in shares.items():
        assert share == pytest.approx((4 - abs(d)) / 12, abs=0.01)


def test_pairs_stay_within_a_text(make):
    rows = [[1, 2], [], [3], [4, 5, 6], [], [7, 8, 9, 10]]
    text_of = {token: index for index, row in enumerate(rows) for token in row}
    pairs = read(make(rows, batch_size=16, window=5), 40)
    real = pairs["loss_weights"] > 0
    seen = set(zip(pairs["token_ids"][real].tolist(), pairs["targets"][real].tolist(), strict=True))
    assert seen == {(a, b) for a in text_of for b in text_of if a != b and text_of[a] == text_of[b]}
    assert not pairs["token_ids"][~real].any() and not pairs["targets"][~real].any()


def test_an_epoch_tries_each_place_once(make):
    tokens = list(range(1, 4001))
    batches = make([tokens], batch_size=64)
    for epoch in range(2):
        num = batches.batches_per_epoch
        words = read(batches, num, start=epoch * num)["token_ids"]
        assert len(set(words.tolist())) == len(words) > 2500
    assert read(batches, 3)["token_ids"].tolist() != read(batches, 3, start=num)["token_ids"].tolist()


def test_frequent_words_are_left_out_as_the_paper_says(make, rng):
    """Words 1, 2, 3 with shares 0.64, 0.32, 0.04 and t = 0.04: kept with 1/4, sqrt(1/8) and 1, on both sides."""
    tokens = rng.choice([1, 2, 3], 50000, p=[0.64, 0.32, 0.04])
    batches = make([tokens.tolist()], batch_size=1000, subsample=0.04, window=1)
    pairs = read(batches, 15)
    assert (pairs["loss_weights"] == 1).all()
    counts = np.bincount(tokens)[1:]
    expected = counts * np.sqrt(0.04 * len(tokens) / counts).clip(max=1.0)
    for name in ("token_ids", "targets"):
        share = np.bincount(pairs[name])[1:] / len(pairs[name])
        np.testing.assert_allclose(share, expected / expected.sum(), atol=0.015)


def test_noise_is_the_unigram_to_three_quarters(make, rng):
    tokens = rng.choice([1, 2, 4], 20000, p=[0.9, 0.08, 0.02])
    negatives = read(make([tokens.tolist()], batch_size=1000, num_negatives=5), 6)["negatives"]
    assert negatives.shape == (6000, 5)
    weights = np.bincount(tokens) ** 0.75
    share = np.bincount(negatives.ravel()) / negatives.size
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.01)
    assert set(negatives.ravel().tolist()) == {1, 2, 4}


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_a_function_of_its_number(make, training):
    rows = [list(range(start, start + 40)) for start in range(1, 800, 40)]
    whole = list(make(rows, training=training).dataset().take(9).as_numpy_iterator())
    later = list(make(rows, training=training).dataset(6).take(3).as_numpy_iterator())
    for one, other in zip(whole[6:], later, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert any((whole[0][name] != whole[1][name]).any() for name in ("token_ids", "targets"))
    assert (whole[0]["negatives"] != whole[1]["negatives"]).any()
    other_seed = next(make(rows, training=training, seed=1).dataset().as_numpy_iterator())
    assert (other_seed["negatives"] != whole[0]["negatives"]).any()


def test_evaluation_is_one_pass(make):
    tokens = list(range(1, 501))
    batches = make([tokens], batch_size=32, training=False)
    pairs = read(batches, 10**6)
    assert len(pairs["token_ids"]) == 32 * batches.batches_per_epoch
    real = pairs["loss_weights"] > 0
    words = pairs["token_ids"][real]
    assert (np.diff(words) > 0).all()  # in order, none twice
    assert len(words) > 250 and words[0] < 5 and words[-1] > 480


def test_a_batch_with_too_few_pairs_is_filled_up(make):
    pairs = read(make([[5, 6, 7]], batch_size=100, training=False), 9)
    assert pairs["token_ids"].shape == (100,)
    assert 0 < pairs["loss_weights"].sum() <= 3
    assert pairs["negatives"].shape == (100, 2)


def test_no_pairs(make):
    with pytest.raises(UserError, match="none of 3 texts has two words, and skip-gram needs pairs of words"):
        make([[1], [2], []])
