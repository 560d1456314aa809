"""Row: what every reader yields, good or bad, with its place."""

from typing import NamedTuple


class Row(NamedTuple):
    """One row of a data set. A reader never raises for a bad row: it says what is wrong with it."""

    file: str
    line: int
    """The line of the file where the row begins, from 1; 0 where the source has no lines."""
    example: dict[str, str]
    """{"text"}, {"text", "label"}, {"text", "text_pair", "label"} {"text", "spans"} or {"source",
    "target"}; empty for a bad row."""
    problem: str = ""
    """Why the row is bad; empty for a good one."""
    key: str = ""
    """What the hash split hashes, in place of the example's own text or source."""
