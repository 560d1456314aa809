"""The memory of the test process."""

import os
import pathlib


def resident_gigabytes() -> float:
    """Its resident set."""
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
