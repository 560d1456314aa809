"""Confidence intervals over examples and over seeds, and a paired bootstrap test. Resampling is by scipy."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UserError

_MAX_INDICES = 10**6  # of resamples held in memory at a time


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval."""

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
    """Mean over examples with a percentile bootstrap interval (Efron and Tibshirani, 1993, section 13.3).

    >>> bootstrap(np.array([0.0, 1.0, 1.0, 1.0]))
    Interval(mean=0.75, low=0.25, high=1.0)

    Args:
        values: float [N], one per example.
        weights: float [N], positive, for a weighted mean, such as over blocks of different numbers of tokens.
        num_samples: int, number of bootstrap resamples.
        seed: int. Equal seeds resample the same examples, also for another system.
        level: float, confidence level.
    Raises:
        UserError: no values, or weights that are not N positive numbers.
    """
    values, weights = _validate(values, weights)
    means = _resampled_means(values, weights, num_samples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.average(values, weights=weights)), float(low), float(high))


def seeds_interval(values: Sequence[float]) -> Interval:
    """Mean over runs with different seeds, with the 95% interval of Student's t distribution.

    >>> seeds_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.484..., high=4.484...)

    Raises:
        UserError: fewer than two values.
    """
    if len(values) < 2:
        raise UserError(
            f"an interval over seeds needs at least two runs; got {len(values)}. Train with another seed."
        )
    from scipy import stats

    mean, error_of_mean = float(np.mean(values)), float(stats.sem(values))
    half_width = float(stats.t.ppf(0.975, len(values) - 1)) * error_of_mean
    return Interval(mean, mean - half_width, mean + half_width)


def paired_bootstrap(
    values: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray | None = None,
    num_samples: int = 1000,
    seed: int = 0,
) -> float:
    """One-sided p-value of the paired bootstrap test that the mean of `values` is higher than that of `baseline`
    (Koehn, 2004, section 4).

    The fraction of resamples in which the mean of `values` is not above the mean of `baseline`, both over the same
    examples. One such resample is added, so that p is never 0 (Phipson and Smyth, 2010). For a metric where lower is
    better, such as a loss, swap the arguments.

    >>> paired_bootstrap(np.array([0.9, 0.8, 0.9]), np.array([0.5, 0.6, 0.4]))
    0.000999000999000999

    Args:
        values: float [N], one per example.
        baseline: float [N], for the same examples in the same order.
        weights, num_samples, seed: see `bootstrap`.
    Raises:
        UserError: the numbers of examples differ; and see `bootstrap`.
    """
    if len(values) != len(baseline):
        raise UserError(
            f"found {len(values)} and {len(baseline)} values; a paired test needs values of the same examples."
        )
    differences, weights = _validate(np.subtract(values, baseline), weights)
    means = _resampled_means(differences, weights, num_samples, seed)
    return float((np.count_nonzero(means <= 0) + 1) / (num_samples + 1))


def bootstrap_distribution(
    statistic_fn: Callable[[np.ndarray], np.ndarray], num_examples: int, num_samples: int, seed: int
) -> np.ndarray:
    """Statistics of bootstrap resamples, by `scipy.stats.bootstrap`.

    Args:
        statistic_fn: maps indices of R resamples, int64 [R, N], to float [..., R].
        num_examples: int, N.
        num_samples: int, number of resamples.
        seed: int.
    Returns:
        float64 [..., num_samples].
    """
    from scipy import stats

    if num_examples == 1:  # scipy requires two examples; every resample is the example itself
        return np.repeat(statistic_fn(np.zeros([1, 1], np.int64)), num_samples, axis=-1)

    def statistic(indices: np.ndarray, axis: int = -1) -> np.ndarray:
        del axis
        rows = np.asarray(indices, np.int64).reshape(-1, num_examples)
        found = np.asarray(statistic_fn(rows), np.float64)
        return found if np.ndim(indices) > 1 else found[..., 0]

    result = stats.bootstrap(
        (np.arange(num_examples),),
        statistic,
        n_resamples=num_samples,
        batch=max(1, _MAX_INDICES // num_examples),
        vectorized=True,
        method="percentile",
        rng=seed,
    )
    return np.asarray(result.bootstrap_distribution)


def _resampled_means(values: np.ndarray, weights: np.ndarray, num_samples: int, seed: int) -> np.ndarray:
    """Weighted means of bootstrap resamples, float64 [num_samples]."""
    weighted = values * weights

    def means(indices: np.ndarray) -> np.ndarray:
        return weighted[indices].sum(axis=-1) / weights[indices].sum(axis=-1)

    return bootstrap_distribution(means, len(values), num_samples, seed)


def _validate(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if not len(values):
        raise UserError("there are no values to resample: an interval needs at least one example.")
    if weights.shape != values.shape or not (weights > 0).all():
        raise UserError(
            f"expected a positive weight for each of the {len(values)} values; got {len(weights)} weights, the "
            f"smallest {weights.min(initial=np.inf):g}."
        )
    return values, weights
