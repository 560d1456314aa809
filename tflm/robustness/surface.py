"""Perturbations of how a text is written: typing noise, case, width, punctuation."""

import random
import re
import unicodedata

from tflm.robustness.perturbation import INVARIANCE, PerturbationOptions, perturbation
from tflm.text.cjk import HAN
from tflm.text.words import find_words

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEGATING = "不没無无非未别勿莫否"
"""Han characters that typing noise leaves as they are: without one a text says the opposite."""
_TO_CHINESE = {",": "，", ".": "。", "!": "！", "?": "？", ":": "：", ";": "；", "(": "（", ")": "）"}
_TO_ASCII = {
    **{chinese: ascii_ for ascii_, chinese in _TO_CHINESE.items()},
    **{
        "、": ",",
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "《": "<",
        "》": ">",
        "【": "[",
        "】": "]",
        "～": "~",
    },
}
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_HALF_WIDTH = {full: half for half, full in _FULL_WIDTH.items()}
_ASCII_MARK = re.compile(r"(?<!\d)[,.:]|[,.:](?!\d)|[!?;()]")


def _neighbours() -> dict[str, str]:
    """Of each letter those next to it on a QWERTY keyboard, on the three rows of letters."""
    found: dict[str, str] = {}
    for number, row in enumerate(_ROWS):
        for place, letter in enumerate(row):
            near = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            # A row is half a key to the right of the one above it.
            near += "".join(_ROWS[number - 1][place : place + 2]) if number else ""
            near += _ROWS[number + 1][max(0, place - 1) : place + 1] if number < 2 else ""
            found[letter] = near
    return found


NEIGHBOURS = _neighbours()


@perturbation("typos", INVARIANCE)
def typos(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Letters replaced by a neighbouring key, dropped, doubled or swapped, inside words of four letters or more;
    Chinese characters doubled, or swapped with the next one."""
    words = [(start, end) for start, end in find_words(text) if _is_changeable(text, start, end)]
    chosen = draw.sample(words, options.count(len(words))) if words else []
    for start, end in sorted(chosen, reverse=True):  # from the end, so that places before stay
        word = text[start:end]
        if re.fullmatch(f"[{HAN}]", word):
            text = _mistyped_character(text, start, draw)
        else:
            text = text[:start] + _mistyped_word(word, draw) + text[end:]
    return text


def _is_changeable(text: str, start: int, end: int) -> bool:
    word = text[start:end]
    return bool(re.fullmatch(f"[{HAN}]", word) and word not in _NEGATING) or (
        end - start >= 4 and word.isalpha() and word.isascii()
    )


def _mistyped_word(word: str, draw: random.Random) -> str:
    """One change that leaves the first and the last letter."""
    place = draw.randrange(1, len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    changes = ["neighbour", "drop", "double"]
    if place + 2 < len(word) and word[place + 1] != letter:
        changes.append("swap")
    change = draw.choice(changes)
    if change == "neighbour":
        other = draw.choice(NEIGHBOURS[letter.lower()])
        return before + (other.upper() if letter.isupper() else other) + after
    if change == "drop":
        return before + after
    return before + (after[0] + letter + after[1:] if change == "swap" else letter + letter + after)


def _mistyped_character(text: str, place: int, draw: random.Random) -> str:
    character, following = text[place], text[place + 1 : place + 2]
    is_pair = re.fullmatch(f"[{HAN}]", following) and following not in _NEGATING and following != character
    if is_pair and draw.random() < 0.5:
        return text[:place] + following + character + text[place + 2 :]
    return text[:place] + character + text[place:]


@perturbation("upper_case", INVARIANCE)
def upper_case(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """All letters in upper case."""
    del draw, options
    return text.upper()


@perturbation("lower_case", INVARIANCE)
def lower_case(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """All letters in lower case."""
    del draw, options
    return text.lower()


@perturbation("full_width", INVARIANCE)
def full_width(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """In a Chinese text, Latin letters, digits and punctuation in full width."""
    del draw, options
    return text.translate(_FULL_WIDTH) if re.search(f"[{HAN}]", text) else text


@perturbation("half_width", INVARIANCE)
def half_width(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Full-width letters, digits and punctuation in half width."""
    del draw, options
    return text.translate(_HALF_WIDTH)


@perturbation("no_punctuation", INVARIANCE)
def no_punctuation(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Without punctuation, but for apostrophes, hyphens and points inside words and numbers; in its place a space."""
    del draw, options
    spaced = "".join(
        " " if _is_mark(character) and not _is_inside(text, place) else character
        for place, character in enumerate(text)
    )
    return " ".join(spaced.split()) or text


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _is_inside(text: str, place: int) -> bool:
    """Whether a mark has a letter or a digit on both sides, as in "don't", "well-made" or "1.5"."""
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return text[place] in "'’-.,:_" and len(around) == 2 and around.isalnum() and around.isascii()


@perturbation("chinese_punctuation", INVARIANCE)
def chinese_punctuation(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """In a Chinese text, ASCII punctuation as Chinese punctuation."""
    del draw, options
    if not re.search(f"[{HAN}]", text):
        return text
    return _ASCII_MARK.sub(lambda found: _TO_CHINESE[found[0]], text)


@perturbation("ascii_punctuation", INVARIANCE)
def ascii_punctuation(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Chinese punctuation as ASCII punctuation."""
    del draw, options
    return "".join(_TO_ASCII.get(character, character) for character in text)
