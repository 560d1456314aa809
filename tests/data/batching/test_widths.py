import itertools

import numpy as np

from tflm.data.batching.windowed import choose_widths


def places(lengths, widths):
    """Places needed when each length is raised to the least width that holds it."""
    return sum(min(width for width in widths if width >= length) for length in lengths)


def test_no_other_widths_need_fewer_places():
    generator = np.random.default_rng(3)
    for count in (1, 2, 3, 4):
        lengths = generator.integers(1, 12, size=15)
        widths = choose_widths(lengths, count)
        least = min(
            places(lengths, [*chosen, lengths.max()])
            for chosen in itertools.combinations(range(1, lengths.max()), min(count, len(set(lengths))) - 1)
        )
        assert len(widths) <= count
        assert places(lengths, widths) == least


def test_long_lengths_and_few_distinct_ones():
    lengths = np.random.default_rng(0).lognormal(6, 1, 3000).astype(int) + 1
    widths = choose_widths(lengths, 24)
    assert len(widths) == 24
    assert widths[-1] >= lengths.max()
    assert (np.diff(widths) > 0).all()
    np.testing.assert_array_equal(choose_widths(np.array([7, 7, 3]), 24), [3, 7])
