"""Waiting for what must come."""

import time
from collections.abc import Callable


def until(check: Callable[[], bool], seconds: float = 20.0) -> None:
    """Returns when `check` is true, and fails after the given number of seconds."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
