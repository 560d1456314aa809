"""The last digit alone may differ."""

import pytest

from tests.apps.rounded import assert_lines


def test_the_last_digit_may_differ_by_one():
    assert_lines(["0.1234\t3\t好", "a"], ["0.1235\t3\t好", "a"])
    assert_lines(["-0.1000\tx"], ["-0.0999\tx"])


@pytest.mark.parametrize(
    "found, expected",
    [
        (["0.1234"], ["0.1236"]),
        (["0.123"], ["0.1234"]),
        (["0.1234\t3"], ["0.1234\t4"]),
        (["a"], ["b"]),
        (["a"], []),
        (["a\tb"], ["a"]),
    ],
)
def test_all_else_is_equal(found, expected):
    with pytest.raises(AssertionError):
        assert_lines(found, expected)
