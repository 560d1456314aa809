"""What is masked: how often, as what, and whole units. The chance of a false alarm stands beside each bound."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.masking import mask_tokens

MASK, SPECIAL = 4, 5
ORDINARY = np.arange(SPECIAL, 105)


def masked(token_ids, unit_ids=None, maskable=None, fraction=0.15, seed=(1, 2)):
    token_ids = tf.constant(token_ids, tf.int32)
    if unit_ids is None:
        unit_ids = tf.broadcast_to(tf.range(token_ids.shape[1]), token_ids.shape)
    result = mask_tokens(
        token_ids,
        tf.constant(seed, tf.int64),
        maskable=token_ids >= SPECIAL if maskable is None else tf.constant(maskable),
        unit_ids=tf.constant(unit_ids, tf.int32),
        mask_fraction=fraction,
        mask_id=MASK,
        ordinary_ids=tf.constant(ORDINARY, tf.int32),
    )
    return [part.numpy() for part in result]


def within(count, expected, trials):
    """Whether a count is within 5 standard deviations of a binomial; beyond, by chance, 6e-7 of the time."""
    return abs(count - trials * expected) < 5 * np.sqrt(trials * expected * (1 - expected))


def test_shares_of_mask_random_and_same():
    tokens = np.random.default_rng(0).integers(SPECIAL, 105, (40, 500))
    tokens[:, 0] = 1
    seen, targets, weights = masked(tokens)
    np.testing.assert_array_equal(targets, tokens)
    chosen = weights == 1
    assert within(chosen.sum(), 0.15, 40 * 499)
    assert set(np.unique(weights)) == {0.0, 1.0} and not chosen[:, 0].any()
    np.testing.assert_array_equal(seen[~chosen], tokens[~chosen])
    became = seen[chosen]
    assert within((became == MASK).sum(), 0.8, chosen.sum())
    # A random token is by chance the same in 1 of 100.
    assert within((became == tokens[chosen]).sum(), 0.1 + 0.1 / 100, chosen.sum())
    random = became[(became != MASK) & (became != tokens[chosen])]
    assert set(random) <= set(ORDINARY) and len(set(random)) > 60
    assert abs(random.mean() - ORDINARY.mean()) < 5 * ORDINARY.std() / np.sqrt(len(random))  # 6e-7


def test_units_are_whole_and_as_likely_whatever_their_length():
    rng = np.random.default_rng(1)
    units = np.stack([np.repeat(np.arange(400), rng.integers(1, 6, 400))[:600] for _ in range(40)])
    tokens = rng.integers(SPECIAL, 105, units.shape)
    _, _, weights = masked(tokens, units)
    by_length = np.zeros((6, 2))
    for row, weight in zip(units, weights, strict=True):
        for unit in np.unique(row)[:-1]:  # the last one is cut off
            values = weight[row == unit]
            assert values.min() == values.max()
            by_length[len(values)] += [1, values[0]]
    assert all(within(chosen, 0.15, trials) for trials, chosen in by_length[1:])


def test_a_short_row_has_one_unit_at_least_and_an_empty_one_none():
    tokens = np.full((300, 4), 9)
    _, _, weights = masked(tokens, np.tile([-1, 0, 0, 1], (300, 1)), tokens > 0, fraction=0.01)
    assert (weights.sum(1) >= 1).all() and (weights[:, 1] == weights[:, 2]).all()
    seen, _, weights = masked([[1, 2, 0, 0]])
    assert not weights.any() and seen.tolist() == [[1, 2, 0, 0]]


def test_what_is_not_maskable_stays_even_in_a_unit():
    tokens = np.full((50, 6), 9)
    maskable = np.tile([False, True, True, False, True, True], (50, 1))
    seen, _, weights = masked(tokens, np.zeros_like(tokens), maskable, fraction=0.5)
    np.testing.assert_array_equal(weights == 1, maskable)  # one unit, and a row has at least one
    assert (seen[~maskable] == 9).all()


def test_the_seed_decides():
    tokens = np.full((4, 50), 9)
    first, same, other = (masked(tokens, seed=seed)[2] for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    # Neighbours with one number are one unit; the same number elsewhere is another.
    _, _, weights = masked(np.full((200, 4), 9), np.tile([0, 1, 0, 1], (200, 1)), fraction=0.5)
    assert (weights[:, 0] != weights[:, 2]).any()


@pytest.mark.parametrize("fraction", [0.05, 0.4])
def test_the_fraction_is_a_setting(fraction):
    _, _, weights = masked(np.full((20, 500), 9), fraction=fraction)
    assert within(weights.sum(), fraction, 10_000)
