"""Numbers of accounts: payment cards and IBAN."""

import re
from collections.abc import Iterator

from tflm.data.personal.identity import is_identity_number
from tflm.data.personal.numbers import AFTER, BEFORE, digits_of, passes_luhn
from tflm.data.personal.patterns import DIGITS, personal_data

_CARD = re.compile(
    f"{BEFORE}(?:[2-9][0-9]{{12,18}}"
    "|[2-9][0-9]{3}(?P<between>[ -])[0-9]{4}(?P=between)[0-9]{4}(?P=between)[0-9]{4}"
    f"(?:(?P=between)[0-9]{{3}})?|3[47][0-9]{{2}}(?P<other>[ -])[0-9]{{6}}(?P=other)[0-9]{{5}}"
    f"|6[0-9]{{5}}(?P<third>[ -])[0-9]{{13}}){AFTER}"
)
_ISSUERS = re.compile(  # the first digits, and the lengths of the whole number
    "4(?:.{12}|.{15}|.{18})"  # Visa
    "|(?:5[1-5]|222[1-9]|22[3-9].|2[3-6]..|27[01].|2720)[0-9]*(?<=^.{16})"  # Mastercard
    "|3[47].{13}"  # American Express
    "|(?:62|81).{14,17}"  # UnionPay
    "|9558.{15}"  # ICBC, before UnionPay's numbers
    "|(?:6011|64[4-9].|65..).{12,15}"  # Discover
    "|35(?:2[89]|[3-8].).{12}"  # JCB
    "|(?:30[0-5]|36.|38.|39.).{11}"  # Diners Club
)
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]){11,30}(?![0-9A-Za-z])")
_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL", "SD", "FK"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    "LC": 32,
    "RU": 33,
}


@personal_data("bank_card", tag="<card>", needs=DIGITS)
def bank_cards(text: str) -> Iterator[tuple[int, int]]:
    """Payment cards: 13 to 19 digits with the prefix of an issuer, such as UnionPay or Visa, and a Luhn digit.

    Written without spaces, or in groups of four with spaces or hyphens.
    """
    for found in _CARD.finditer(text):
        digits = digits_of(found[0])
        if _ISSUERS.fullmatch(digits) and passes_luhn(digits) and not is_identity_number(digits):
            yield found.span()


@personal_data("iban", tag="<iban>", needs=DIGITS)
def ibans(text: str) -> Iterator[tuple[int, int]]:
    """IBAN of bank accounts (ISO 13616): the length of the country, and a remainder of 1 modulo 97.

    Written without spaces, or in groups of four.
    """
    for found in _IBAN.finditer(text):
        length, places = (
            _IBAN_LENGTHS.get(found[0][:2], 0),
            [place for place, character in enumerate(found[0]) if character != " "],
        )
        if (
            not length or len(places) < length
        ):  # a word in capitals may follow: take as much as the country has
            continue
        end = places[length - 1] + 1
        if end < len(found[0]) and found[0][end] != " ":
            continue
        digits = digits_of(found[0][:end])
        if int("".join(str(int(each, 36)) for each in digits[4:] + digits[:4])) % 97 == 1:
            yield found.start(), found.start() + end
