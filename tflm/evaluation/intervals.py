"""How far a measured number may be trusted: intervals over examples and over seeds, and a test of a difference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UserError


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean over examples with its percentile interval (Efron and Tibshirani, 1993, section 13.3).

    >>> bootstrap(np.array([0.0, 1.0, 1.0, 1.0]))
    Interval(mean=0.75, low=0.25, high=1.0)

    Args:
        values: float [N], one an example.
        weights: float [N], above 0, where examples count unequally, as blocks with unequal numbers of tokens do.
        num_samples: how often N examples are drawn anew.
        seed: of the draws; the same for two systems draws the same examples for both.
        level: how much of the draws' means lies in the interval.
    Raises:
        UserError: there are no values, or weights of another number or not above 0.
    """
    values, weights = _checked(values, weights)
    means = _resampled_means(values, weights, num_samples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.average(values, weights=weights)), float(low), float(high))


def seeds_interval(values: Sequence[float]) -> Interval:
    """The mean over runs that differ in their seed, with the 95% interval of Student's t.

    >>> seeds_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484..., high=4.484...)

    Raises:
        UserError: fewer than two values, or scipy is not installed.
    """
    if len(values) < 2:
        raise UserError(
            f"an interval over seeds needs two runs at least; got {len(values)}. Train another seed."
        )
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError(
            "an interval over seeds needs the package scipy: pip install 'tflm[eval]'."
        ) from error
    mean, error_of_mean = float(np.mean(values)), float(stats.sem(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error_of_mean
    return Interval(mean, mean - reach, mean + reach)


def paired_bootstrap(
    values: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray | None = None,
    num_samples: int = 1000,
    seed: int = 0,
) -> float:
    """How probable it is that `values` are no higher than `baseline` on other such examples (Koehn, 2004, section 4).

    The share of draws of N examples, the same ones for both, in which the mean of `values` is not above that of
    `baseline`; one more draw is counted as such, so that the answer is never 0 (Phipson and Smyth, 2010). For a
    measure of which less is better, such as a loss, give the two in the other order.

    >>> paired_bootstrap(np.array([0.9, 0.8, 0.9]), np.array([0.5, 0.6, 0.4]))
    0.000999000999000999

    Args:
        values: float [N], one an example.
        baseline: float [N], of the same examples in the same order.
        weights, num_samples, seed: as for `bootstrap`.
    Raises:
        UserError: the numbers of examples differ, or what `bootstrap` refuses.
    """
    if len(values) != len(baseline):
        raise UserError(
            f"{len(values)} and {len(baseline)} values: a paired test needs those of the same examples."
        )
    differences, weights = _checked(np.subtract(values, baseline), weights)
    means = _resampled_means(differences, weights, num_samples, seed)
    return float((np.count_nonzero(means <= 0) + 1) / (num_samples + 1))


def _resampled_means(values: np.ndarray, weights: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """float64 [num_samples]: one draw after the other, since all of them together may not fit into memory."""
    random, weighted = np.random.default_rng(seed), values * weights
    means = np.empty(num_samples)
    for sample in range(num_samples):
        drawn = random.integers(0, len(values), len(values))
        means[sample] = weighted[drawn].sum() / weights[drawn].sum()
    return means


def _checked(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if not len(values):
        raise UserError("there are no values to draw from: an interval needs one example at least.")
    if weights.shape != values.shape or not (weights > 0).all():
        raise UserError(
            f"weights are numbers above 0, one for each of the {len(values)} values; got {len(weights)}, the "
            f"smallest {weights.min(initial=np.inf):g}."
        )
    return values, weights
