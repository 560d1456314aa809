"""Numbers of persons, of their papers and cars, and of companies."""

import datetime
import re
from collections.abc import Iterator

from tflm.data.personal.numbers import AFTER, BEFORE, digits_of
from tflm.data.personal.patterns import DIGITS, personal_data

_REGION = "(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|9[0-9])[0-9]{4}"
_LONG = re.compile(
    f"{BEFORE}{_REGION}[ -]?(?:19|20)[0-9]{{2}}[01][0-9][0-3][0-9][ -]?[0-9]{{3}}[0-9Xx]{AFTER}"
)
_SHORT = re.compile(f"{BEFORE}{_REGION}[0-9]{{2}}[01][0-9][0-3][0-9][0-9]{{3}}{AFTER}")
_LAST_YEAR = 2049
_WEIGHTS = [2**place % 11 for place in range(17, 0, -1)]

_COMPANY_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_COMPANY = re.compile(
    "(?<![0-9A-Za-z])[1-9A-HJ-NP-RT-UW-Y][0-9A-HJ-NP-RT-UW-Y]"
    "(?:[1-6][0-9]|71|8[1-3]|10)[0-9]{4}[0-9A-HJ-NP-RT-UW-Y]{10}(?![0-9A-Za-z])"
)
_COMPANY_WEIGHTS = [3**place % 31 for place in range(17)]

_PLATE_LETTER, _PLATE_BOTH = "[A-HJ-NP-Z]", "[A-HJ-NP-Z0-9]"
_PLATE = re.compile(
    "(?<![全最更崭重创刷])(?P<province>[京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新])"
    f"{_PLATE_LETTER}(?P<between>[·•.\\- ]?)"
    f"(?P<number>[DFABCEGHJK]{_PLATE_BOTH}[0-9]{{4}}|[0-9]{{5}}[DFABCEGHJK]|{_PLATE_BOTH}{{4}}[A-HJ-NP-Z0-9挂学警港澳])"
    "(?![0-9A-Za-z])"
)
_ALSO_WORDS = "新云"  # 新 (new) and 云 (cloud) stand before names of products

_PASSPORT = re.compile(
    r"(?:护照|passport)[^0-9A-Za-z\n]{0,4}(?:号码?|number|no)?[^0-9A-Za-z\n]{0,4}(?:is |为|是)?"
    r"(?P<number>[A-Z]{1,2}[0-9]{6,8}|[0-9]{9})(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_MACHINE_READABLE = re.compile(
    r"(?:P[A-Z<][A-Z<]{42}\s+)?"
    r"(?<![A-Z0-9<])[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9](?![A-Z0-9<])"
)
_SOCIAL_SECURITY = re.compile(f"{BEFORE}(?!000|666|9)[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}{AFTER}")


@personal_data("identity_number", tag="<id>", needs=DIGITS)
def identity_numbers(text: str) -> Iterator[tuple[int, int]]:
    """Chinese resident identity numbers, 居民身份证号码: 18 digits with a date and a check digit (GB 11643), or 15
    digits with a date.

    The place is that of a province. Spaces or hyphens may stand before and after the date of birth of 18 digits.
    """
    for found in _LONG.finditer(text):
        if is_identity_number(digits_of(found[0])):
            yield found.span()
    for found in _SHORT.finditer(text):
        if _is_date(f"19{found[0][6:12]}"):
            yield found.span()


def is_identity_number(digits: str) -> bool:
    """Whether 18 digits, the last of which may be X, have a place, a date of birth and the check digit of GB 11643.

    >>> is_identity_number("11010519491231002X"), is_identity_number("110105194912310021")
    (True, False)
    """
    if not (len(digits) == 18 and re.fullmatch(f"{_REGION}[0-9]{{11}}[0-9Xx]", digits)):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits))
    return _is_date(digits[6:14]) and "10X98765432"[total % 11] == digits[17].upper()


def _is_date(digits: str) -> bool:
    """Whether YYYYMMDD is a day from 1900 on."""
    try:
        return 1900 <= datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= _LAST_YEAR
    except ValueError:
        return False


@personal_data("company_code", tag="<company>", needs=DIGITS)
def company_codes(text: str) -> Iterator[tuple[int, int]]:
    """Chinese unified social credit codes, 统一社会信用代码, with their check character (GB 32100); sole traders have
    them, too."""
    for found in _COMPANY.finditer(text):
        values = [_COMPANY_LETTERS.index(each) for each in found[0]]
        total = sum(weight * value for weight, value in zip(_COMPANY_WEIGHTS, values))
        if (31 - total % 31) % 31 == values[17] and not is_identity_number(found[0]):
            yield found.span()


@personal_data("number_plate", tag="<plate>", needs=DIGITS)
def number_plates(text: str) -> Iterator[tuple[int, int]]:
    """Chinese number plates, 车牌号, also of new energy vehicles: province, letter, five or six characters.

    At least three of them are digits.
    """
    for found in _PLATE.finditer(text):
        num_digits = sum(character.isdecimal() for character in found["number"])
        is_word = found["province"] in _ALSO_WORDS and not found["between"]
        if num_digits >= (5 if is_word else 3):
            yield found.span()


@personal_data("passport", tag="<passport>", needs=DIGITS)
def passports(text: str) -> Iterator[tuple[int, int]]:
    """Passport numbers after the word passport or 护照; and machine-readable lines (ICAO 9303) with their check digits.

    A number by itself has no check digit and is not found.
    """
    for found in _PASSPORT.finditer(text):
        yield found.span("number")
    for found in _MACHINE_READABLE.finditer(text):
        line = found[0][-44:]
        parts = ((line[:9], 9), (line[13:19], 19), (line[21:27], 27))
        if all(_icao_check(part) == line[place] for part, place in parts):
            yield found.span()


def _icao_check(part: str) -> str:
    """The check digit of ICAO 9303, part 3, section 4.9.

    >>> _icao_check("L898902C3")
    '6'
    """
    values = (0 if each == "<" else int(each, 36) for each in part)
    return str(sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10)


@personal_data("us_social_security", tag="<ssn>", needs=DIGITS)
def us_social_security_numbers(text: str) -> Iterator[tuple[int, int]]:
    """US social security numbers with hyphens, in the ranges that are given out."""
    for found in _SOCIAL_SECURITY.finditer(text):
        yield found.span()
