"""Which fonts a picture is drawn with, with fonts that the tests install."""

import pathlib
import shutil
import warnings

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from tflm.evaluation.reports import fonts
from tflm.evaluation.reports.fonts import DrawnTexts, drawing, texts_to_draw

OWN = "DejaVu Sans"


def characters(monkeypatch, found):
    """Installs fonts: name to the characters that it has."""
    monkeypatch.setattr(fonts, "_installed", lambda: [(name, name) for name in found])
    monkeypatch.setattr(fonts, "_characters", lambda path: frozenset(map(ord, found.get(path, "abc 1"))))


def test_what_the_own_font_has(monkeypatch):
    characters(monkeypatch, {"Han": "好差"})
    assert texts_to_draw(["a 1", "b\nc"]) == DrawnTexts([OWN], ["a 1", "b\nc"], {}, "")


def test_several_fonts_together_are_enough(monkeypatch):
    characters(monkeypatch, {"Symbols": "☃", "Han": "好差", "Thai": "ดี"})
    assert texts_to_draw(["好", "a ดี"]) == DrawnTexts([OWN, "Han", "Thai"], ["好", "a ดี"], {}, "")


def test_all_are_numbered_where_one_cannot_be_shown(monkeypatch):
    characters(monkeypatch, {"Han": "好"})
    drawn = texts_to_draw(["好", "差", "a"])
    assert drawn == DrawnTexts([OWN], ["1", "2", "3"], {"1": "好", "2": "差", "3": "a"}, "差")
    assert texts_to_draw(["好"]).notice("x.png") == ""


@pytest.mark.parametrize(
    "text, packages",
    [
        ("中", "fonts-noto-cjk"),
        ("カ한ア", "fonts-noto-cjk"),
        ("नमस्ते", "fonts-noto-core"),
        ("🙂", "fonts-symbola"),
        ("中🙂", "fonts-noto-cjk fonts-symbola"),
    ],
)
def test_the_package_to_install(monkeypatch, text, packages):
    characters(monkeypatch, {})
    assert f"apt-get install {packages}, and" in texts_to_draw([text]).notice("x.png")


def test_a_long_notice_is_cut(monkeypatch):
    characters(monkeypatch, {})
    notice = texts_to_draw([chr(0x4E00 + n) for n in range(3000)]).notice("x.png")
    assert len(notice) < 500 and "20 专, …)" in notice


def test_the_font_of_boxes_shows_nothing():
    """matplotlib comes with a font that has a box for every character."""
    assert any(entry.name.startswith("Last Resort") for entry in font_manager.fontManager.ttflist)
    assert not any("Last Resort" in name for _, name in fonts._installed())


def test_a_font_installed_after_matplotlib_listed_them(monkeypatch, tmp_path):
    own = pathlib.Path(font_manager.findfont(OWN))
    new = shutil.copy(own, tmp_path / "new.ttf")
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: [str(new), f"{tmp_path}/bad.ttf"])
    assert (str(new), OWN) in fonts._installed()


def test_a_glyph_that_is_missing_all_the_same_is_silent(tmp_path):
    with warnings.catch_warnings(), drawing(DrawnTexts([OWN], [], {}, "")):
        warnings.filterwarnings("error", category=RuntimeWarning)
        figure = Figure()
        figure.text(0.5, 0.5, "质\t量 $x^$")
        figure.savefig(tmp_path / "a.png")
    assert matplotlib.rcParams["text.parse_math"]
