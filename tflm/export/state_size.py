"""Size of the generation state that a client passes from `prefill` to `decode`, per row and per token."""

import math
from collections.abc import Mapping

import numpy as np

STATE_PREFIX = "state_"
"""Prefix of the names of the state tensors."""


def state_size(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Bytes of the state of the first row, and bytes per additional token.

    A tensor that grows along one axis takes the size of its other axes per token. So neither the number of tokens
    between the two states nor spare capacity matters.

    >>> before = {"state_cache": np.zeros([2, 5, 8], np.float32), "state_seed": np.zeros([2], np.int64)}
    >>> state_size(before, before | {"state_cache": np.zeros([2, 9, 8], np.float32)})
    (168, 32)

    Args:
        before: state tensors `[B, ...]` by name; names without the prefix `state_` are ignored.
        after: a later state of the same rows.
    """
    size = growth = 0
    for name, array in before.items():
        if not name.startswith(STATE_PREFIX):
            continue
        size += sum(map(len, array[:1].flat)) if array.dtype == object else array[0].nbytes
        changed = [axis for axis, (old, new) in enumerate(zip(array.shape, after[name].shape)) if old != new]
        if len(changed) == 1:
            growth += array.itemsize * math.prod(np.delete(array.shape, [0, changed[0]]).tolist())
    return size, growth
