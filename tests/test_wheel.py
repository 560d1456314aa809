"""What `pip install .` installs: two packages, the files that they read, and the command `tflm`."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "tflm", "apps")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since a build leaves files among its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def tflm(wheel, tmp_path_factory):
    """`tflm(*command)` runs a command of the installed package in a folder that is no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--quiet", "--no-deps", "--target", folder / "site", wheel)

    def call(*command):
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "site")},
            check=False,
        )

    call.script = folder / "site/bin/tflm"
    return call


def test_a_wheel_holds_two_packages_and_none_called_apps(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name.partition("/")[0] for name in file.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"tflm", "tflm_apps"}


def test_a_wheel_holds_every_file_of_its_packages(wheel):
    with zipfile.ZipFile(wheel) as file:
        packed = set(file.namelist())
    for folder, package in (("tflm", "tflm"), ("apps", "tflm_apps")):
        paths = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        expected = {f"{package}/{path.relative_to(ROOT / folder).as_posix()}" for path in paths}
        missing = sorted(expected - packed)
        assert not missing, f"name their endings in setup.cfg, [options.package_data]: {missing}"


def test_the_installed_command(tflm):
    for command in ([str(tflm.script)], ["-m", "tflm"]):
        done = tflm(*command, "--help")
        assert (done.returncode, done.stderr) == (0, "") and "  generate " in done.stdout
        done = tflm(*command, "generate", "--help")
        assert (done.returncode, done.stderr) == (0, "") and "tflm generate --model=" in done.stdout
        done = tflm(*command, "generate", "--text=a")
        assert (done.returncode, done.stderr.splitlines()[0]) == (
            2,
            "error: --model is needed: a folder such as --model=saved_models/NAME.",
        )
    assert (
        tflm(str(tflm.script), "completion", "bash").stdout.count("complete -o bashdefault -F _tflm tflm")
        == 1
    )


def test_every_installed_command_finds_its_modules(tflm):
    body = """import importlib, pkgutil, tflm_apps, tflm_apps.common
for package in (tflm_apps, tflm_apps.common):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
        print(found.name)
"""
    done = tflm("-c", body)
    assert done.returncode == 0, done.stderr
    assert {"tflm_apps.train", "tflm_apps.main", "tflm_apps.common.items"} <= set(done.stdout.split())
