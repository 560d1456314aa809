"""What all apps have in common: help, exit codes, and where texts come from."""

import configparser
import importlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags

from apps.command_line import batched, define_input, read_texts, run_app, write_result
from tflm.errors import UsageError, UserError

ROOT = pathlib.Path(__file__).parents[2]
APPS = sorted(
    path.stem for path in ROOT.glob("apps/*.py") if "def run(argv" in path.read_text(encoding="utf-8")
)


def some_app(flag_values: flags.FlagValues) -> None:
    outcomes = {
        "user": UserError("too few rows."),
        "usage": UsageError("--model is needed."),
        "interrupt": KeyboardInterrupt(),
        "bug": ZeroDivisionError(),
    }
    for text in read_texts(flag_values):
        if text in outcomes:
            raise outcomes[text]
        write_result(flag_values, text, {"text": text})


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    define_input(values)
    return values


def texts_of(path, flag_values):
    flag_values(["app", f"--input={path}"])
    return list(read_texts(flag_values))


@pytest.mark.parametrize("name", APPS)
def test_help_shows_three_examples_that_begin_with_the_command(call, name):
    done = call(name, "--help")
    assert (done.code, done.err) == (0, "")
    examples = re.findall(rf"^ +(?:.* \| )?python -m apps\.{name}\b.*$", done.out, re.MULTILINE)
    assert len(examples) >= 3, done.out
    module = importlib.import_module(f"apps.{name}")
    for flag in module.FLAGS:
        assert f"  --{flag}\n      {module.FLAGS[flag].help}" in done.out


def test_every_console_script_names_a_function():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    scripts = dict(
        line.split(" = ") for line in setup["options.entry_points"]["console_scripts"].strip().splitlines()
    )
    assert set(scripts) >= {f"tflm-{name}" for name in APPS if name != "demo"}
    for script, target in scripts.items():
        module, function = target.split(":")
        assert module == f"apps.{script.removeprefix('tflm-')}"
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    "text, code, words",
    [
        ("fine", 0, ""),
        ("user", 1, "error: too few rows.\n"),
        ("usage", 2, "error: --model is needed.\nTry --help.\n"),
        ("interrupt", 130, "error: interrupted.\n"),
    ],
)
def test_exit_codes(flag_values, capsys, text, code, words):
    assert run_app(some_app, flag_values, "", ["app", f"--text={text}"]) == code
    assert capsys.readouterr().err == words


def test_a_bug_keeps_its_traceback(flag_values):
    with pytest.raises(ZeroDivisionError):
        run_app(some_app, flag_values, "", ["app", "--text=bug"])


def test_wrong_flags(flag_values, capsys):
    for argument, words in {
        "--batch_sise=1": "Unknown command line flag 'batch_sise'. Did you mean: batch_size",
        "--batch_size=0": "flag --batch_size=0: 0 is not a positive integer",
        "--format=xml": "flag --format=xml: value should be one of <text|json>",
        "text": "unexpected argument 'text'. Flags are written --name=value.",
    }.items():
        assert run_app(some_app, flag_values, "", ["app", argument]) == 2
        assert words in capsys.readouterr().err


def test_a_second_call_in_one_process_knows_nothing_of_the_first(flag_values, capsys):
    run_app(some_app, flag_values, "", ["app", "--text=one", "--format=json"])
    run_app(some_app, flag_values, "", ["app", "--text=two"])
    assert capsys.readouterr().out == '{"text": "one"}\ntwo\n'


def test_lines_of_a_file(flag_values, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffone\r\n\n你好 \nlast".encode())
    assert texts_of(path, flag_values) == ["one", "", "你好 ", "last"]


def test_an_empty_file_has_no_texts(flag_values, tmp_path):
    (tmp_path / "empty.txt").touch()
    assert texts_of(tmp_path / "empty.txt", flag_values) == []


def test_standard_input(flag_values, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("你好\nb\n".encode())))
    assert texts_of("-", flag_values) == ["你好", "b"]


def test_jsonl(flag_values, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "two\\nlines", "id": 1}\n\n{"text": "你好"}\n', encoding="utf-8")
    assert texts_of(path, flag_values) == ["two\nlines", "你好"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.txt", b"good\nb\xffd\n", r"a.txt, line 2 is not UTF-8: invalid start byte at byte 1. Save the"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a.jsonl, line 2 is not JSON: Expecting value at column"),
        ("a.jsonl", b"[1]\n", r'a.jsonl, line 1: expected {"text": "..."}; got \[1\]'),
        ("a.jsonl", b'{"text": 3}\n', r'line 1: expected {"text": "..."}; got {"text": 3}'),
        ("a.jsonl", b'{"txt": "a"}\n', r'line 1: expected {"text": "..."}; got {"txt": "a"}'),
    ],
)
def test_a_bad_line_is_named(flag_values, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        texts_of(tmp_path / name, flag_values)


def test_a_file_that_cannot_be_read(flag_values, tmp_path):
    with pytest.raises(UserError, match=r"cannot read --input=.*none.txt: No such file or directory."):
        texts_of(tmp_path / "none.txt", flag_values)
    with pytest.raises(UserError, match=r"cannot read --input=.*: Is a directory."):
        texts_of(tmp_path, flag_values)


def test_batched():
    assert list(batched(iter("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batched(iter(""), 2)) == []


APP = """
import sys
from absl import flags, logging
from apps import command_line
values = flags.FlagValues()
command_line.define_input(values)
def main(values):
    {}
sys.exit(command_line.run_app(main, values, "", sys.argv))
"""


@pytest.fixture
def shell(tmp_path):
    """`shell(body, line)`: runs a line of bash in which `$app` is a program with that body."""

    def run(body: str, line: str, **environment: str):
        (tmp_path / "app.py").write_text(APP.format(body), encoding="utf-8")
        app = {"app": f"{sys.executable} {tmp_path}/app.py", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
        app.update(environment)
        command = ["bash", "-c", line]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", cwd=ROOT, env={**os.environ, **app}, check=False
        )

    return run


def test_a_reader_that_goes_away_is_no_error(shell):
    body = "for number in range(20000): command_line.write_result(values, f'line {number}', {})"
    done = shell(body, "$app | head -n 1; echo codes ${PIPESTATUS[*]}")
    assert (done.stdout, done.stderr) == ("line 0\ncodes 0 0\n", "")


def test_help_into_a_closed_pipe(shell):
    done = shell("", f"{sys.executable} -m apps.generate --help | true; echo codes ${{PIPESTATUS[*]}}")
    assert (done.stdout, done.stderr) == ("codes 0 0\n", "")


@pytest.mark.parametrize("encoding, expected", [("utf-8", "你 ? a\n"), ("ascii", "? ? a\n")])
def test_what_a_terminal_cannot_show_is_a_question_mark(shell, tmp_path, encoding, expected):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "你 \ud800 a"}), encoding="utf-8")
    body = "for text in command_line.read_texts(values): command_line.write_result(values, text, {})"
    done = shell(body, f"$app --input={tmp_path}/texts.jsonl", PYTHONIOENCODING=encoding)
    assert (done.stdout, done.stderr) == (expected, "")


def test_a_warning_is_a_line_without_talk_of_flags(shell):
    done = shell("logging.warning('1 of 9 rows is bad')", "$app")
    assert re.fullmatch(r"W\d{4} .*\] 1 of 9 rows is bad\n", done.stderr)


def test_tensorflow_comes_without_its_greeting(shell):
    done = shell(
        "command_line.load_tensorflow(); import tensorflow; print(tensorflow.version.VERSION)", "$app"
    )
    assert done.stdout.startswith("2.") and done.stderr == ""


def test_quiet_libraries_give_standard_error_back(shell):
    body = "with command_line.quiet_libraries(): import os; os.write(2, b'hidden')\n    command_line.note('shown')"
    assert shell(body, "$app").stderr == "shown\n"
