"""The command `tflm`: its subcommands, and that answers which need no TensorFlow do not import it."""

import configparser
import io
import json
import pathlib
import re
import subprocess
import sys

import pytest

from apps import main
from tflm import __version__

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def tflm(capsys):
    """`tflm(*arguments)`: the exit code, standard output and standard error."""

    def call(*arguments):
        code = main.run(["tflm", *arguments])
        return code, *capsys.readouterr()

    return call


def test_every_app_is_a_command():
    apps = {path.stem for path in ROOT.glob("apps/*.py") if "FLAGS = " in path.read_text(encoding="utf-8")}
    assert set(main.COMMANDS) == apps and len(main.COMMANDS) == len(apps)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_the_commands_with_a_line_each(tflm, arguments):
    code, out, err = tflm(*arguments)
    assert (code, err) == (0, "") and out.startswith("Usage: tflm COMMAND [--flag=value ...]\n")
    shown = dict(re.findall(r"^  (\w+) {2,}(.+)$", out, re.MULTILINE))
    assert tuple(shown) == main.COMMANDS
    for name, line in shown.items():
        assert len(line) <= 90 and line.endswith("."), f"the first line of apps/{name}.py: {line}"
    assert "In a checkout, python -m apps.COMMAND does the same as tflm COMMAND." in out


def test_version(tflm):
    assert tflm("--version") == (0, f"tflm {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["trian"], "there is no command 'trian'. Did you mean 'train'?"),
        (["Summarise", "--text=a"], "there is no command 'Summarise'. Did you mean 'summarize'?"),
        (["tflm-train"], "there is no command 'tflm-train'. Did you mean 'train'?"),
        (["对话"], "there is no command '对话'. The commands are import, mask, train, launch, average, "),
        (["--model=a", "chat"], "--model=a is given before a command. Write tflm COMMAND --model=a."),
    ],
)
def test_an_unknown_command(tflm, arguments, words):
    code, out, err = tflm(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}") and err.endswith("\nTry --help.\n")


def test_a_command_gets_its_arguments(tflm):
    code, out, err = tflm("tag", "--help")
    assert (code, err) == (0, "") and "  tflm tag --model=" in out
    assert tflm("tag", "--segment", "--colour=red") == (
        2,
        "",
        "error: Unknown command line flag 'colour'\nTry --help.\n",
    )


@pytest.mark.parametrize("program", [["tflm"], ["apps.main"], ["tflm", "classify"], ["apps.classify"]])
def test_python_runs_it_as_a_module(program):
    done = subprocess.run(
        [sys.executable, "-m", *program, "--help"],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and "  tflm " in done.stdout


def test_a_checkout_runs_its_own_apps():
    body = "import sys; sys.argv = ['tflm', '--version']; import tflm.__main__ as main; print(main.run.__module__)"
    done = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, encoding="utf-8", cwd=ROOT, check=False
    )
    assert (done.stdout, done.stderr) == ("apps.main\n", "")


def test_the_console_script():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["options.entry_points"]["console_scripts"].strip() == "tflm = tflm_apps.main:run"


LIGHT = [  # command lines that are answered without TensorFlow, and their exit codes
    ("", 0),
    ("--version", 0),
    ("trian", 2),
    *((f"{name} --help", 0) for name in main.COMMANDS),
    *((f"completion {shell}", 0) for shell in ("bash", "zsh", "fish")),
    *((f"{name} --colour=red", 2) for name in main.COMMANDS),
    ("train", 2),
    ("train --list_presets", 0),
    ("train --preset=nope --workdir=x", 2),
    ("train --task=classification", 2),
    ("tune --preset=tiny_lstm", 2),
    ("tune --preset=nope --workdir=x", 2),
    ("compress", 2),
    ("compress --workdir=a --output_workdir=b --prune=0.5 --structure=x", 2),
    ("evaluate", 2),
    ("export --output=saved_models/a", 2),
    ("compare", 2),
    ("generate --text=a", 2),
    ("chat --text=a --top_p=x", 2),
    ("answer --documents=a --context=b", 2),
    ("embed --query=a --duplicates=0.9", 2),
    ("serve", 2),
]
PROGRAM = """
import contextlib, io, json, sys
from apps import main
for line in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main.run(["tflm", *line.split()])
    heavy = [name for name in HEAVY if name in sys.modules]
    print(json.dumps([line, code, heavy]))
""".replace(
    "HEAVY",
    "('tensorflow', 'keras', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'grpc', 'google.protobuf', 'starlette')",
)


def test_no_answer_that_needs_no_tensorflow_imports_it():
    lines = json.dumps([line for line, _ in LIGHT])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, lines], capture_output=True, encoding="utf-8", cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in io.StringIO(done.stdout)]
    assert found == [[line, code, []] for line, code in LIGHT]
