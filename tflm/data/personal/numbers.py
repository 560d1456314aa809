"""Parts that patterns of numbers share: what may stand before and after, and check digits."""

import re

BEFORE = r"(?<![0-9A-Za-z_])(?<![0-9][.\-])(?<![A-Za-z]-)"
"""Not inside a longer number, a word, a decimal fraction or a product code. Chinese characters may stand before."""
AFTER = r"(?![0-9A-Za-z_])(?![.\-][0-9])"


def digits_of(text: str) -> str:
    """The digits and letters alone.

    >>> digits_of("4111 1111-1111")
    '411111111111'
    """
    return re.sub("[^0-9A-Za-z]", "", text)


def passes_luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B).

    >>> passes_luhn("4111111111111111"), passes_luhn("4111111111111112")
    (True, False)
    """
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0
