"""Text in plots: fonts that cover its characters, or numbers with a legend if no installed font does."""

import contextlib
import functools
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_OWN = "DejaVu Sans"
# This font of matplotlib has a placeholder glyph for every character.
_BOXES = "Last Resort"
_PACKAGES = {
    "fonts-noto-cjk": (
        "CJK",
        "HIRAGANA",
        "KATAKANA",
        "HANGUL",
        "BOPOMOFO",
        "IDEOGRAPHIC",
        "FULLWIDTH",
        "HALFWIDTH",
    ),
}
_OTHER_SCRIPTS, _SYMBOLS = "fonts-noto-core", "fonts-symbola"
_MOST_CHARACTERS = 20


class DrawnTexts(NamedTuple):
    """Texts as drawn in a plot."""

    fonts: list[str]
    """Fonts for matplotlib's `font.family`, in order of preference."""
    shown: list[str]
    """The texts, or numbers from 1 if no installed fonts cover all characters."""
    legend: dict[str, str]
    """Number to text; empty if the texts are drawn."""
    missing: str
    """Characters that no installed font covers."""

    def notice(self, picture: str) -> str:
        """A message for the user about missing fonts and how to install them; "" if none is missing."""
        if not self.missing:
            return ""
        some = self.missing[:_MOST_CHARACTERS] + ("…" if len(self.missing) > _MOST_CHARACTERS else "")
        meaning = ", ".join(
            f"{number} {text}" for number, text in list(self.legend.items())[:_MOST_CHARACTERS]
        )
        meaning += ", …" if len(self.legend) > _MOST_CHARACTERS else ""
        packages = " ".join(_packages(self.missing))
        return (
            f"{picture} has numbers in place of names ({meaning}), because no installed font has the characters "
            f"{some}: install one, on Debian and Ubuntu by apt-get install {packages}, and draw it again."
        )


def texts_to_draw(texts: Sequence[str]) -> DrawnTexts:
    """Chooses fonts that cover all characters of the texts, or else numbers for all texts.

    >>> texts_to_draw(["good", "bad"]).shown
    ['good', 'bad']
    """
    missing = {ord(c) for text in texts for c in text if c.isprintable()} - _characters(_own_path())
    fonts = [_OWN]
    for path, name in _installed() if missing else []:
        if found := missing & _characters(path):
            fonts.append(name)
            missing -= found
        if not missing:
            break
    if not missing:
        return DrawnTexts(fonts, list(texts), {}, "")
    numbers = [str(number) for number in range(1, len(texts) + 1)]
    legend = dict(zip(numbers, texts, strict=True))
    return DrawnTexts([_OWN], numbers, legend, "".join(map(chr, sorted(missing))))


@contextlib.contextmanager
def drawing(texts: DrawnTexts) -> Iterator[None]:
    """A context with these fonts, without TeX parsing of dollar signs, and without matplotlib's warnings about missing
    glyphs, which `notice` replaces."""
    import matplotlib

    settings: dict[Any, Any] = {"font.family": texts.fonts, "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*(Glyph|[Ff]ont)")
        yield


def _own_path() -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(font_manager.FontProperties(family=_OWN)))


def _installed() -> list[tuple[str, str]]:
    """(path, name) of each font, including fonts installed after matplotlib cached its font list."""
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with contextlib.suppress(OSError, RuntimeError, ValueError, KeyError):  # one that cannot be read
            font_manager.fontManager.addfont(path)
    entries = [(entry.fname, entry.name) for entry in font_manager.fontManager.ttflist]
    return [(path, name) for path, name in entries if not name.startswith(_BOXES)]


@functools.lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a font that cannot be read shows nothing
        return frozenset()


def _packages(characters: str) -> list[str]:
    """Debian packages with fonts for the characters."""
    found = {}
    for character in characters:
        word = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
        other = _OTHER_SCRIPTS if unicodedata.category(character)[0] in "LMN" else _SYMBOLS
        found[next((package for package, words in _PACKAGES.items() if word in words), other)] = True
    return list(found)
