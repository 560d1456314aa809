"""Phone numbers: Chinese mobile numbers, international numbers, and common national forms."""

import re
from collections.abc import Iterator

from tflm.data.personal.numbers import AFTER, digits_of
from tflm.data.personal.patterns import DIGITS, personal_data

_MOBILE = re.compile(
    r"(?<![0-9A-Za-z_+])(?<![0-9][.\-])(?<![A-Za-z]-)(?:\(?(?:\+|00)?86\)?[ -]?)?"
    r"1(?:3[0-9]|4[0145-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])"
    r"(?:[0-9]{8}|(?P<between>[ -])[0-9]{4}(?P=between)[0-9]{4}"
    rf"|[0-9](?P<other>[ -])[0-9]{{4}}(?P=other)[0-9]{{3}}){AFTER}"
)
_ORDER = re.compile(
    r"(?:订单|单号|编号|货号|流水号?|型号|order(?: no| number| id)?|invoice|serial)[^0-9A-Za-z]{0,4}$",
    re.IGNORECASE,
)
_GLUED = re.compile(rf"(?<=[A-Za-z])1[3-9][0-9]{{9}}{AFTER}")
_GLUED_WORDS = ("tel", "phone", "mobile", "wechat", "weixin", "wx", "vx", "qq")
"""Words after which a number may follow without a space."""

_COUNTRY = (  # ITU-T E.164, assigned country codes
    "(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21[12368]|2[2346][0-9]|25[0-8]|29[01789]|35[0-9]|37[0-9]"
    "|38[0-35-79]|42[013]|50[0-9]|59[0-9]|67[02-9]|68[0-35-9]|69[0-2]|80[08]|85[02356]|87[08]|88[0-368]|96[0-8]|97[0-79]"
    "|99[2-68])"
)
_INTERNATIONAL = re.compile(
    rf"(?<![0-9A-Za-z_+])\+{_COUNTRY}[0-9]{{0,14}}(?:[ .\-]?\([0-9]{{1,4}}\)[0-9]{{0,10}})?"
    r"(?:[ .\-][0-9]{1,12}){0,6}(?![0-9A-Za-z_])"
)
_MOST_DIGITS, _LEAST_DIGITS = 15, 8
_NATIONAL = re.compile(
    "(?<![0-9A-Za-z_+])(?<![0-9][.\\-/])(?<![A-Za-z]-)(?:"
    r"(?:1[ .\-])?(?:\([2-9][0-9]{2}\) ?[0-9]{3}[ .\-][0-9]{4}|[2-9][0-9]{2}(?P<nanp>[.\-])[0-9]{3}(?P=nanp)[0-9]{4})"
    r"|\(0[1-9][0-9]{1,3}\) ?[0-9]{3,4}[ -]?[0-9]{4}"
    r"|0(?:10|2[0-9]|[3-9][0-9]{2})-[0-9]{7,8}"
    r"|0[1-9][0-9]{1,3}-[0-9]{3,4}-[0-9]{4}"
    r"|0[36]-[0-9]{4}-[0-9]{4}|0[1-9][0-9]{1,3}/[0-9]{6,8}"
    r"|(?<![0-9] )(?:020 [0-9]{4} [0-9]{4}|07[0-9]{3} [0-9]{3} ?[0-9]{3})"
    f"){AFTER}"
)


@personal_data("chinese_mobile", tag="<phone>", needs=DIGITS)
def chinese_mobiles(text: str) -> Iterator[tuple[int, int]]:
    """Chinese mobile numbers, 手机号码: 11 digits with the prefix of a network, also with +86 and in groups."""
    for found in _MOBILE.finditer(text):
        is_round = found[0].endswith("00000000")  # 13.8 billion
        if not is_round and not _ORDER.search(text[max(0, found.start() - 12) : found.start()]):
            yield found.span()
    for found in _GLUED.finditer(text):
        word = re.search("[A-Za-z]*$", text[max(0, found.start() - 9) : found.start()])
        if word and word[0].lower() in _GLUED_WORDS:
            yield found.span()


@personal_data("phone", tag="<phone>", needs=DIGITS)
def phones(text: str) -> Iterator[tuple[int, int]]:
    """Phone numbers with + and a country code (E.164), and national ones with separators: (555) 234-5678, 555-234-5678,
    010-12345678, 020 7946 0958.

    A national number without separators is not found: it is like any other number.
    """
    for found in _INTERNATIONAL.finditer(text):
        groups = re.findall("[0-9]+", found[0])
        num_digits = len(digits_of(found[0]))
        if (
            _LEAST_DIGITS <= num_digits <= _MOST_DIGITS
            and max(map(len, groups)) >= 2
            and _has_no_zeros(found[0])
        ):
            yield found.span()
    for found in _NATIONAL.finditer(text):
        yield found.span()


def _has_no_zeros(number: str) -> bool:
    """Not a round number with a sign."""
    return not digits_of(number).endswith("000000")
