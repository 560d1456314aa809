"""Row: the output of every reader, a good or bad row with its location."""

from typing import NamedTuple


class Row(NamedTuple):
    """One row of a data set. Readers do not raise for bad rows; they set `problem`."""

    file: str
    line: int
    """Line where the row begins, from 1; 0 for sources without lines."""
    example: dict[str, str]
    """The example by key, see `DataConfig.columns`; empty for a bad row."""
    problem: str = ""
    """Why the row is bad; "" for a good row."""
    key: str = ""
    """Key of the hash split; "" for the text or source of the example."""
    num_lines: int = 1
    """Number of lines of the row."""
    num_rows: int = 1
    """Number of rows lost with a bad row that swallowed others, such as by an unbalanced quotation mark."""
