"""Intervals against the distributions that they stand for."""

import numpy as np
import pytest
from scipy import stats

from tflm.errors import UserError
from tflm.evaluation import Interval, bootstrap, paired_bootstrap, seeds_interval
from tflm.evaluation.metrics import intervals


def test_draws_of_zeros_and_ones_are_binomial():
    values = np.repeat([0.0, 1.0], [30, 70])
    found = bootstrap(values, num_samples=20_000)
    binomial = stats.binom(100, 0.7)
    assert found.mean == pytest.approx(0.7)
    # The ends are quantiles of a count: one step of a hundredth is what chance may do.
    assert found.low == pytest.approx(binomial.ppf(0.025) / 100, abs=0.0101)
    assert found.high == pytest.approx(binomial.ppf(0.975) / 100, abs=0.0101)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_it_equals_numpy_on_the_same_draws(level):
    values, weights = np.random.default_rng(4).exponential(size=(2, 80))
    found = bootstrap(values, weights, num_samples=400, seed=3, level=level)
    drawn = np.random.default_rng(3).integers(0, 80, (400, 80))
    means = (values * weights)[drawn].sum(1) / weights[drawn].sum(1)
    assert found[1:] == pytest.approx(tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2])))
    assert found.mean == pytest.approx(np.average(values, weights=weights))


def test_batches_of_resamples_do_not_matter(monkeypatch):
    values = np.random.default_rng(2).normal(size=30)
    whole = bootstrap(values)
    monkeypatch.setattr(intervals, "_MAX_INDICES", 70)
    assert bootstrap(values) == whole


def test_one_example():
    assert bootstrap(np.array([2.5])) == Interval(2.5, 2.5, 2.5)
    assert paired_bootstrap(np.array([2.0]), np.array([1.0])) == 1 / 1001


def test_weights_equal_repeated_work():
    """A block of two tokens with mean 3 weighs what two tokens weigh; both are drawn together."""
    values, weights = np.array([3.0, 6.0, 1.0]), np.array([2.0, 1.0, 1.0])
    found = bootstrap(values, weights, num_samples=5000)
    assert found.mean == pytest.approx((2 * 3 + 6 + 1) / 4)
    rng = np.random.default_rng(9)
    drawn = rng.integers(0, 3, [5000, 3])
    means = (values * weights)[drawn].sum(1) / weights[drawn].sum(1)
    assert found[1:] == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.25)
    assert found.low == 1.0, "all three draws may be the last example: 1 in 27"


def test_equal_values_leave_no_doubt_and_seeds_repeat():
    assert bootstrap(np.full(9, 2.5)) == Interval(2.5, 2.5, 2.5)
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(11)
    found = [bootstrap(random.normal(size=60), num_samples=300, level=0.9) for _ in range(300)]
    share = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.83 < share < 0.95


def test_seeds_by_the_table_of_student():
    # t of 0.975 with 2 degrees of freedom is 4.303; the standard error of 1, 2, 3 is 1/sqrt(3).
    found = seeds_interval([1.0, 2.0, 3.0])
    assert found == pytest.approx((2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)
    assert seeds_interval([4.0, 4.0]) == (4.0, 4.0, 4.0)


def test_seeds_need_two_runs():
    with pytest.raises(UserError, match=r"needs at least two runs; got 1. Train with another seed"):
        seeds_interval([1.0])


def test_the_paired_test_by_counting():
    # Differences +1 and -1: a mean above 0 needs +1 twice, 1 of 4 draws. So 3 of 4 are not above.
    found = paired_bootstrap(np.array([1.0, 0.0]), np.array([0.0, 1.0]), num_samples=20_000)
    assert found == pytest.approx(0.75, abs=0.02)
    # Three of four better by 1, one worse by 1: not above 0 with at most 2 of 4 draws better.
    found = paired_bootstrap(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]), num_samples=20_000)
    assert found == pytest.approx(stats.binom(4, 0.75).cdf(2), abs=0.02)


def test_the_paired_test_at_its_ends():
    better, worse = np.arange(20.0) + 1, np.arange(20.0)
    assert paired_bootstrap(better, worse) == 1 / 1001, "never 0"
    assert paired_bootstrap(worse, better) == 1.0
    assert paired_bootstrap(worse, worse) == 1.0, "no difference is no gain"
    # All the gain is in an example without much weight.
    values, baseline = np.array([1.0, 0.0]), np.array([0.0, 0.5])
    assert paired_bootstrap(values, baseline, np.array([1e-9, 1.0])) > 0.7


def test_refusals():
    with pytest.raises(UserError, match=r"no values to resample: an interval needs at least one example"):
        bootstrap(np.zeros(0))
    with pytest.raises(
        UserError, match=r"a positive weight for each of the 2 values; got 3 weights, the smallest 1"
    ):
        bootstrap(np.zeros(2), np.ones(3))
    with pytest.raises(
        UserError, match=r"positive weight for each of the 2 values; got 2 weights, the smallest 0"
    ):
        bootstrap(np.zeros(2), np.array([0.0, 1.0]))
    with pytest.raises(UserError, match=r"2 and 1 values; a paired test needs values of the same examples"):
        paired_bootstrap(np.zeros(2), np.zeros(1))
