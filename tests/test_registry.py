"""Registries: names are read from sources, plugins take part, and two of one name are refused."""

import importlib
import os
import subprocess
import sys

import pytest

from tflm.errors import UserError
from tflm.registry import PLUGINS, Registry, UnknownNameError, plugins, use_plugins

PARTS = '''
import {package}.inner
from {package}.registry import register_part

print("imported {module}")

@register_part("{name}")
class {title}:
    """One {name}: 部件.

    More of it.
    """

@{package}.inner.other
class Other:
    pass
'''


@pytest.fixture(name="registry")
def registry_fixture(tmp_path, monkeypatch):
    """A package with two parts, and its registry."""
    package = f"parts_{os.path.basename(tmp_path)}"
    folder = tmp_path / package
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "inner/__init__.py").write_text("other = lambda each: each\n", encoding="utf-8")
    (folder / "registry.py").write_text(
        f"from tflm.registry import Registry\nPARTS = Registry('part', 'register_part', '{package}')\n"
        "register_part = PARTS.register\n",
        encoding="utf-8",
    )
    for module, name in (("wheel", "wheel"), ("inner/axle", "axle")):
        text = PARTS.format(package=package, module=module, name=name, title=name.title())
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(PLUGINS, "")
    yield importlib.import_module(f"{package}.registry").PARTS
    for name in [name for name in sys.modules if name.startswith((package, "plugin_"))]:
        del sys.modules[name]


def write_plugin(registry, path, name):
    package = registry.package
    path.write_text(
        f"from {package} import registry\n\n@registry.register_part('{name}')\ndef part():\n    '''A {name}.'''\n",
        encoding="utf-8",
    )


def test_names_are_read_and_nothing_is_imported(registry, capsys):
    assert registry.names() == ["axle", "wheel"]
    assert "axle" in registry and "bolt" not in registry
    declared = registry.declarations()["wheel"]
    assert declared.summary == "One wheel: 部件."
    assert declared.doc == "One wheel: 部件.\n\nMore of it."
    assert capsys.readouterr().out == ""
    assert registry.get("axle").__name__ == "Axle"
    assert registry.get("axle") is registry.get("axle")
    assert capsys.readouterr().out == "imported inner/axle\n"


def test_an_unknown_name_lists_those_there_are(registry):
    with pytest.raises(
        UnknownNameError, match=r"^no part 'bolt'\. There are: axle, wheel\. One of a plugin needs TFLM"
    ):
        registry.get("bolt")


def test_plugins_are_files_modules_and_packages(registry, tmp_path, monkeypatch):
    write_plugin(registry, tmp_path / "plugin_file.py", "bolt")
    write_plugin(registry, tmp_path / "plugin_module.py", "nut")
    (tmp_path / "plugin_package").mkdir()
    (tmp_path / "plugin_package/__init__.py").write_text("", encoding="utf-8")
    write_plugin(registry, tmp_path / "plugin_package/washer.py", "washer")
    monkeypatch.setenv(PLUGINS, f"{tmp_path}/plugin_file.py, plugin_module")
    (tmp_path / "elsewhere").mkdir()
    os.rename(tmp_path / "plugin_package", tmp_path / "elsewhere/plugin_package")
    monkeypatch.setattr(sys, "path", [*sys.path])
    use_plugins([f"{tmp_path}/elsewhere/plugin_package"])
    assert registry.names() == ["axle", "bolt", "nut", "washer", "wheel"]
    assert registry.declarations()["bolt"].summary == "A bolt."
    assert not [name for name in sys.modules if name.startswith("plugin_")], "nothing was imported"
    for name in ("bolt", "nut", "washer"):
        assert registry.get(name).__doc__ == f"A {name}."
    assert registry.get("bolt") is importlib.import_module("plugin_file").part, "imported once"


def test_a_plugin_may_register_without_a_decorator(registry, tmp_path, monkeypatch):
    path = tmp_path / "plugin_loop.py"
    path.write_text(
        f"from {registry.package}.registry import PARTS\nfor name in ('a', 'b'):\n    PARTS.add(name, str)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv(PLUGINS, str(path))
    assert registry.names() == ["axle", "wheel"]
    assert registry.get("b") is str
    assert registry.names() == ["a", "axle", "b", "wheel"]


def test_an_installed_package_is_a_plugin_by_its_entry_point(registry, tmp_path):
    write_plugin(registry, tmp_path / "plugin_installed.py", "bolt")
    info = tmp_path / "plugin_installed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugin-installed\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text("[tflm.plugins]\nparts = plugin_installed\n", encoding="utf-8")
    code = f"from {registry.package}.registry import PARTS; print(PARTS.names(), PARTS.get('bolt').__doc__)"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "['axle', 'bolt', 'wheel'] A bolt.\n"


def test_two_of_one_name_are_refused(registry, tmp_path, monkeypatch):
    path = tmp_path / "plugin_wheel.py"
    write_plugin(registry, path, "wheel")
    monkeypatch.setenv(PLUGINS, str(path))
    package = registry.package
    with pytest.raises(
        UserError, match=rf"two parts are named 'wheel': in {package}\.wheel and in .*plugin_wheel\.py\."
    ):
        registry.names()
    registry.get  # noqa: B018
    monkeypatch.setenv(PLUGINS, "")
    assert registry.add("wheel", registry.get("wheel")), "the same again is fine"
    with pytest.raises(
        ValueError, match=rf"two parts are named 'wheel': {package}\.wheel\.Wheel and builtins\.int\. Ren"
    ):
        registry.add("wheel", int)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.py", r"there is no plugin 'none\.py': no such file\. Check --plugins or TFLM_PLUGINS\."),
        (
            "none.such",
            r"there is no plugin 'none\.such': no such module or folder\. Install it or put its folder on PYTHONPATH",
        ),
    ],
)
def test_a_plugin_that_is_not_there(name, words, monkeypatch):
    monkeypatch.setenv(PLUGINS, "")
    with pytest.raises(UserError, match=words):
        use_plugins([name])
    assert plugins() == []
    monkeypatch.setenv(PLUGINS, name)
    with pytest.raises(UserError, match=words):
        Registry("part", "register_part", "tflm.text").names()


def test_a_plugin_that_is_not_python(registry, tmp_path, monkeypatch):
    path = tmp_path / "plugin_bad.py"
    path.write_text("@register_part('x')\nclass :\n", encoding="utf-8")
    monkeypatch.setenv(PLUGINS, str(path))
    with pytest.raises(UserError, match=r"plugin_bad\.py:2: not Python: invalid syntax\."):
        registry.names()
