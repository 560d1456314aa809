"""T5's relative positions against its formula, one distance at a time."""

import math

import numpy as np
import pytest

from tflm.layers import RelativePositionBias
from tflm.layers.relative_positions import relative_buckets


def bucket(distance, bidirectional, num_buckets, max_distance):
    """Raffel et al., 2020, section 2.1: half of a direction's buckets for single distances, the rest logarithmic."""
    first = 0
    if bidirectional:
        num_buckets //= 2
        first = num_buckets if distance > 0 else 0
        behind = abs(distance)
    else:
        behind = max(-distance, 0)
    exact = num_buckets // 2
    if behind < exact:
        return first + behind
    share = math.log(behind / exact) / math.log(max_distance / exact)
    return first + min(exact + int(share * (num_buckets - exact)), num_buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("sizes", [(32, 128), (8, 20)])
def test_buckets_equal_the_formula(bidirectional, sizes):
    distances = np.arange(-300, 301, dtype=np.int32)
    # float32's logarithm may fall to the other side of a border where the formula is whole.
    borders = {
        d
        for d in range(1, 301)
        if abs(_share(d, sizes, bidirectional) - round(_share(d, sizes, bidirectional))) < 1e-5
    }
    found = np.array(relative_buckets(distances, bidirectional, *sizes))
    for distance, value in zip(distances, found, strict=True):
        if abs(distance) not in borders:
            assert value == bucket(int(distance), bidirectional, *sizes), distance


def _share(behind, sizes, bidirectional):
    num_buckets = sizes[0] // 2 if bidirectional else sizes[0]
    exact = num_buckets // 2
    return math.log(behind / exact) / math.log(sizes[1] / exact) * (num_buckets - exact)


def test_the_bias_of_a_step_is_a_row_of_the_whole(rng):
    layer = RelativePositionBias(3, bidirectional=False, num_buckets=8, max_distance=16)
    places = np.arange(20, dtype=np.int32)
    layer(places, places)
    layer.embeddings.assign(rng.normal(size=(8, 3)))
    whole = np.array(layer(places, places))
    assert whole.shape == (1, 3, 20, 20)
    np.testing.assert_array_equal(layer(places[7:9], places), whole[:, :, 7:9])
    table = np.array(layer.embeddings)
    assert whole[0, 1, 12, 4] == pytest.approx(10 * table[bucket(-8, False, 8, 16), 1])


def test_another_scale():
    one, other = (RelativePositionBias(2, bidirectional=True, **options) for options in ({}, {"scale": 1.0}))
    places = np.arange(4, dtype=np.int32)
    one(places, places), other(places, places)
    other.embeddings.assign(one.embeddings)
    np.testing.assert_allclose(one(places, places), 10 * np.array(other(places, places)), rtol=1e-6)


def test_distances_are_told_apart_from_the_first():
    layer = RelativePositionBias(2, bidirectional=True)
    places = np.arange(4, dtype=np.int32)
    bias = np.array(layer(places, places))
    assert len(np.unique(bias)) == 2 * 7 and np.abs(bias).max() < 3.0
