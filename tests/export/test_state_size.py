"""The size of a state: its first row in bytes, and what a further token adds."""

import numpy as np

from tflm.export.state_size import state_size


def test_a_cache_that_grows_and_what_stays():
    before = {
        "num_tokens": np.zeros([3], np.int32),  # no part of it
        "state_cache_keys_0": np.zeros([3, 2, 7, 16], np.float32),
        "state_cache_values_0": np.zeros([3, 2, 7, 16], np.float16),
        "state_history": np.zeros([3, 9], np.int32),
        "state_seed": np.zeros([3], np.int64),
        "state_finished": np.zeros([3], bool),
    }
    grown = {
        "state_cache_keys_0": [3, 2, 11, 16],
        "state_cache_values_0": [3, 2, 11, 16],
        "state_history": [3, 73],
    }
    after = before | {name: np.zeros(shape, before[name].dtype) for name, shape in grown.items()}
    num_bytes = 2 * 7 * 16 * 4 + 2 * 7 * 16 * 2 + 9 * 4 + 8 + 1
    assert state_size(before, after) == (num_bytes, 2 * 16 * 4 + 2 * 16 * 2 + 4)
    assert state_size(before, before) == (num_bytes, 0)


def test_strings_count_by_their_bytes():
    stops = np.empty([2, 2], object)
    stops[:] = [["。".encode(), b"\n\n"], [b"", b"a longer one"]]
    assert state_size({"state_stop": stops}, {"state_stop": stops}) == (5, 0)
