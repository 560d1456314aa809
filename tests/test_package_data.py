"""A wheel has every file that is read at run time: templates, messages, web pages."""

import configparser
import fnmatch
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    path
    for path in (ROOT / "tflm").rglob("*")
    if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
)


def patterns():
    """Glob of a file, as setup.cfg has it: relative to a package."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for package, globs in setup["options.package_data"].items():
        for glob in globs.split():
            yield f"{package.replace('.', '/')}/{glob}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_is_package_data(path):
    name = path.relative_to(ROOT).as_posix()
    assert any(fnmatch.fnmatch(name, glob) for glob in patterns()), (
        "add it to [options.package_data] in setup.cfg"
    )
