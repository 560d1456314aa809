"""Perturbations of Chinese: homophones by pypinyin, simplified and traditional characters by OpenCC."""

import functools
import importlib
import importlib.util
import random
import re
from typing import Any

from tflm.errors import UserError
from tflm.robustness.perturbation import INVARIANCE, PerturbationOptions, perturbation
from tflm.text.cjk import HAN

EXTRA = 'pip install "tflm[check]"'
_FUNCTION_WORDS = "的了是我你他她它们这那不没有在和也就都很一"
"""Characters that an input method does not confuse, since they are the first of their sound."""


def library(name: str) -> Any:
    """A library of the extra `check`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is needed, and is not installed: {EXTRA}") from error


def is_installed(name: str) -> bool:
    """Whether there is a library of this name; it is not imported."""
    return importlib.util.find_spec(name) is not None


@perturbation("homophones", INVARIANCE, needs="pypinyin")
def homophones(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Chinese characters replaced by common ones of the same sound, as an input method would."""
    others = _same_sound()
    places = []
    for found in re.finditer(f"[{HAN}]+", text):
        readings = library("pypinyin").lazy_pinyin(found[0])  # in context: 行 in 银行 is háng
        if len(readings) == len(found[0]):
            places += [
                (found.start() + number, reading)
                for number, reading in enumerate(readings)
                if found[0][number] not in _FUNCTION_WORDS
                and any(other != found[0][number] for other in others.get(reading, ""))
            ]
    chosen = draw.sample(places, options.count(len(places))) if places else []
    for place, reading in chosen:
        other = draw.choice([each for each in others[reading] if each != text[place]])
        text = text[:place] + other + text[place + 1 :]
    return text


@functools.cache
def _same_sound() -> dict[str, str]:
    """Sound without tone to the characters of which it is the first reading; of level 1 of GB 2312, the 3,755 most
    frequent ones."""
    lazy_pinyin = library("pypinyin").lazy_pinyin
    found: dict[str, str] = {}
    for high in range(0xB0, 0xD8):
        for low in range(0xA1, 0xFF):
            try:
                character = bytes([high, low]).decode("gb2312")
            except UnicodeDecodeError:  # five codes of the last row are free
                continue
            if character not in _FUNCTION_WORDS:
                sound = lazy_pinyin(character)[0]
                found[sound] = found.get(sound, "") + character
    return found


@functools.cache
def _converter(name: str) -> Any:
    return library("opencc").OpenCC(name)


@perturbation("traditional", INVARIANCE, needs="opencc")
def traditional(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Simplified characters as traditional ones."""
    del draw, options
    return _converter("s2t").convert(text)


@perturbation("simplified", INVARIANCE, needs="opencc")
def simplified(text: str, draw: random.Random, options: PerturbationOptions) -> str:
    """Traditional characters as simplified ones."""
    del draw, options
    return _converter("t2s").convert(text)
