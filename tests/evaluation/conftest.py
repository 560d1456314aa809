"""Pictures as they are on a machine without fonts of its own."""

import warnings

import pytest

from tflm.evaluation.reports import fonts


@pytest.fixture
def no_other_fonts(monkeypatch):
    """matplotlib's own font alone; a warning, such as of a glyph that is missing, is an error."""
    monkeypatch.setattr(fonts, "_installed", list)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
