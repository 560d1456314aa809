"""What all apps have in common: help, exit codes, and where texts come from."""

import errno
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags

from apps.common.command_line import describe_flags, run_app
from apps.common.items import answer_items, define_items
from apps.main import COMMANDS
from tflm.errors import UsageError, UserError

ROOT = pathlib.Path(__file__).parents[3]


def some_app(flag_values: flags.FlagValues) -> None:
    outcomes = {
        "user": UserError("too few rows."),
        "usage": UsageError("--model is needed."),
        "interrupt": KeyboardInterrupt(),
        "bug": ZeroDivisionError(),
    }

    def answer(items):
        for item in items:
            if item["text"] in outcomes:
                raise outcomes[item["text"]]
            yield [item]

    answer_items(flag_values, ("text",), answer, lambda record: record["text"])


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    define_items(values, {"text": "A text."})
    return values


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_three_examples_that_begin_with_the_command(call, name):
    done = call(name, "--help")
    assert (done.code, done.err) == (0, "")
    examples = re.findall(rf"^ +(?:.* \| |\w+ <\()?tflm {name}\b.*$", done.out, re.MULTILINE)
    assert len(examples) >= 3, done.out
    values = importlib.import_module(f"apps.{name}").FLAGS
    shown = re.findall(r"^  --(?:\[no\])?(\w+)", done.out.partition("\nFlags:\n")[2], re.MULTILINE)
    assert shown == list(values)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_explains_itself(name):
    values = importlib.import_module(f"apps.{name}").FLAGS
    for flag in (values[each] for each in values):
        assert re.match(r"(<.*>: )?[A-Z'].*[.)]", flag.help, re.DOTALL), f"--{flag.name}: {flag.help}"


def test_how_flags_are_described():
    values = flags.FlagValues()
    flags.DEFINE_enum("side", "eval", ["eval", "test"], "Data to evaluate on.", flag_values=values)
    flags.DEFINE_boolean("quick", False, "Skip the measures.", flag_values=values)
    flags.DEFINE_multi_string("set", [], "A field: section.field=value.", flag_values=values)
    flags.DEFINE_list("ids", None, "Token ids.", flag_values=values)
    flags.DEFINE_integer("step", None, "A checkpoint.", flag_values=values)
    flags.DEFINE_float("top_p", 0.9, "Probability mass.", flag_values=values)
    assert describe_flags(values).splitlines() == [
        "  --side=eval|test",
        "      Data to evaluate on. Default: eval.",
        "  --[no]quick",
        "      Skip the measures. Default: off.",
        "  --set=VALUE",
        "      A field: section.field=value. May be given several times.",
        "  --ids=A,B,...",
        "      Token ids.",
        "  --step=INTEGER",
        "      A checkpoint.",
        "  --top_p=NUMBER",
        "      Probability mass. Default: 0.9.",
    ]


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


FILE_ERRORS = {
    "error: cannot write to 甲.npy: No space left on device. Earlier output was kept. Free disk space and run the same "
    "command again.": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "甲.npy"),
    "error: cannot read or write '/r/乙': Permission denied. Change the permissions": PermissionError(
        errno.EACCES, "-", "/r/乙"
    ),
    "error: cannot read or write 'runs': Is a directory. Fix this": IsADirectoryError(
        errno.EISDIR, "-", "runs"
    ),
    "error: cannot read or write '/r/events': Read-only file system. Change": (
        tf.errors.PermissionDeniedError(None, None, "/r/events; Read-only file system")
    ),
    "error: cannot write: No space left on device. Earlier output was kept.": (
        tf.errors.ResourceExhaustedError(None, None, "/r/state; No space left on device")
    ),
}


@pytest.mark.parametrize("words", FILE_ERRORS)
def test_a_failure_of_a_file_is_one_line(flag_values, capsys, monkeypatch, words):
    monkeypatch.setattr("apps.common.command_line._drop_output", lambda: None)

    def fail(_):
        raise FILE_ERRORS[words]

    assert run_app(fail, flag_values, "", ["app"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(words) and error.count("\n") == 1


def test_wrong_flags(flag_values, capsys):
    for argument, words in {
        "--batch_sise=1": "Unknown command line flag 'batch_sise'. Did you mean: batch_size",
        "--batch_size=0": "flag --batch_size=0: 0 is not a positive integer",
        "--format=xml": "flag --format=xml: value should be one of <text|csv|tsv|json>",
        "text": "unexpected argument 'text'. Flags are written --name=value.",
    }.items():
        assert run_app(some_app, flag_values, "", ["app", argument]) == 2
        assert words in capsys.readouterr().err


def test_a_second_call_in_one_process_knows_nothing_of_the_first(flag_values, capsys):
    run_app(some_app, flag_values, "", ["app", "--text=one", "--format=json"])
    run_app(some_app, flag_values, "", ["app", "--text=two"])
    assert capsys.readouterr().out == '{"text": "one"}\ntwo\n'


APP = """
import sys
from absl import flags, logging
from apps.common import command_line, items
values = flags.FlagValues()
items.define_items(values, {{"text": "A text."}})
def echo():
    items.answer_items(values, ("text",), lambda found: ([item] for item in found), lambda item: item["text"])
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


def test_a_reader_that_goes_away_is_no_error(shell, tmp_path):
    (tmp_path / "numbers").write_text("\n".join(map(str, range(20000))), encoding="utf-8")
    done = shell("echo()", f"$app --input={tmp_path}/numbers | head -n 1; echo codes ${{PIPESTATUS[*]}}")
    assert (done.stdout, done.stderr) == ("0\ncodes 0 0\n", "")


def test_help_into_a_closed_pipe(shell):
    done = shell("", f"{sys.executable} -m apps.generate --help | true; echo codes ${{PIPESTATUS[*]}}")
    assert (done.stdout, done.stderr) == ("codes 0 0\n", "")


@pytest.mark.parametrize("encoding, expected", [("utf-8", "你 ? a\n"), ("ascii", "? ? a\n")])
def test_what_a_terminal_cannot_show_is_a_question_mark(shell, tmp_path, encoding, expected):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "你 \ud800 a"}), encoding="utf-8")
    done = shell("echo()", f"$app --input={tmp_path}/texts.jsonl", PYTHONIOENCODING=encoding)
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
