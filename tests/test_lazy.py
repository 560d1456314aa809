"""Public names are imported when they are used."""

import importlib
import pkgutil
import sys

import pytest


def test_names_are_imported_when_they_are_used(tmp_path, monkeypatch):
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\nfrom tflm.lazy import lazy_exports\n"
        "if TYPE_CHECKING:\n    from lazy_package.heavy import Thing, other\n"
        "__getattr__, __all__ = lazy_exports(__name__, __file__)\n",
        encoding="utf-8",
    )
    (package / "heavy.py").write_text("class Thing: ...\nother = '名'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = importlib.import_module("lazy_package")
    assert made.__all__ == ["Thing", "other"]
    assert "lazy_package.heavy" not in sys.modules
    assert made.other == "名" and "lazy_package.heavy" in sys.modules
    with pytest.raises(AttributeError, match=r"^module 'lazy_package' has no attribute 'none'$"):
        made.none  # noqa: B018
    for name in ("lazy_package", "lazy_package.heavy"):
        sys.modules.pop(name)


@pytest.mark.parametrize("package", ["tflm.experiments", "tflm.tasks", "tflm.text"])
def test_no_public_name_is_that_of_a_module(package):
    """Importing the module would hide the name."""
    made = importlib.import_module(package)
    modules = {module.name for module in pkgutil.iter_modules(made.__path__)}
    assert made.__all__ and not modules & set(made.__all__)
