"""How large the state is that a client carries from `prefill` to `decode`, a row and a token."""

import math
from collections.abc import Mapping

import numpy as np

STATE_PREFIX = "state_"
"""How the names of its tensors begin."""


def state_size(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Bytes of the first row's state, and how many more each further token takes.

    A tensor that has grown along one axis takes, for each place there, what the rest of its axes hold. So it does not
    matter how many tokens lie between the two, or whether there is room for some more.

    >>> before = {"state_cache": np.zeros([2, 5, 8], np.float32), "state_seed": np.zeros([2], np.int64)}
    >>> state_size(before, before | {"state_cache": np.zeros([2, 9, 8], np.float32)})
    (168, 32)

    Args:
        before: a state, `[B, ...]` each; what does not begin with `state_` is passed over.
        after: a later one of the same rows.
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
