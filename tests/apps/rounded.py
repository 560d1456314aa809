"""Lines of an app with rounded numbers, whose last digit may be decided by the rounding of a float32."""

import re
from collections.abc import Sequence

_DECIMAL = re.compile(r"-?\d+\.(\d+)$")


def assert_lines(found: Sequence[str], expected: Sequence[str]) -> None:
    """The lines are equal, cell by cell; decimal numbers may differ by one in their last digit."""
    assert len(found) == len(expected), (found, expected)
    for line, wanted in zip(found, expected, strict=True):
        cells, wanted_cells = line.split("\t"), wanted.split("\t")
        assert len(cells) == len(wanted_cells), (line, wanted)
        for cell, wanted_cell in zip(cells, wanted_cells, strict=True):
            number, other = _DECIMAL.match(wanted_cell), _DECIMAL.match(cell)
            if number and other and len(number[1]) == len(other[1]):
                assert abs(float(cell) - float(wanted_cell)) < 1.5 * 10.0 ** -len(number[1]), (line, wanted)
            else:
                assert cell == wanted_cell, (line, wanted)
