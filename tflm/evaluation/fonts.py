"""Which installed fonts can show a text: matplotlib's own has no Chinese, Japanese or Korean."""

import functools


def fonts_for(text: str) -> list[str] | None:
    """Names of fonts for matplotlib's `font.family`, the first that has a character shows it.

    Returns:
        matplotlib's own font alone where that is enough; with one more, installed one; or None where no installed
        font has all of the text.
    """
    from matplotlib import font_manager

    own = font_manager.FontProperties(family="DejaVu Sans")
    missing = {ord(c) for c in text if c.isprintable()} - _characters(font_manager.findfont(own))
    if not missing:
        return ["DejaVu Sans"]
    for entry in font_manager.fontManager.ttflist:
        if missing <= _characters(entry.fname):
            return ["DejaVu Sans", entry.name]
    return None


@functools.lru_cache(maxsize=1024)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that cannot be read shows nothing
        return frozenset()
