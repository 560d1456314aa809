"""Which few widths to pad batches to, so that the padding is least."""

import numpy as np

_MAX_CANDIDATES = 512


def choose_widths(lengths: np.ndarray, num_widths: int) -> np.ndarray:
    """At most `num_widths` widths such that raising each length to the next width adds the fewest places.

    An exact dynamic program: the cost of the candidates up to j with one width more is the least, over
    the width i before it, of that cost up to i plus (number of lengths in between) * j. Lengths are first
    rounded up to at most 512 evenly spaced candidates.

    >>> choose_widths(np.array([1, 1, 1, 9, 10]), num_widths=2)
    array([ 1, 10])

    Args:
        lengths: int [N], all >= 1.
        num_widths: at least 1.
    Returns:
        int64 [K], rising; K <= num_widths; the last is >= the greatest length.
    """
    step = -(-int(lengths.max()) // _MAX_CANDIDATES)
    candidates, counts = np.unique(-(-lengths // step) * step, return_counts=True)
    below = np.concatenate(
        [[0], np.cumsum(counts)]
    )  # below[j]: lengths raised to one of the first j candidates
    num_candidates = len(candidates)
    cost = np.full(num_candidates + 1, np.inf)
    cost[0] = 0
    previous = []
    for _ in range(min(num_widths, num_candidates)):
        # totals[i, j]: the first i candidates are paid for, all after them up to number j are padded to it
        totals = cost[:, None] + (below[None, 1:] - below[:, None]) * candidates[None, :]
        totals[np.arange(num_candidates + 1)[:, None] > np.arange(num_candidates)[None, :]] = np.inf
        previous.append(totals.argmin(axis=0))
        cost = np.concatenate([[np.inf], totals.min(axis=0)])
    widths, end = [], num_candidates
    for choice in reversed(previous):
        widths.append(candidates[end - 1])
        end = choice[end - 1]
    return np.array(sorted(widths), np.int64)
