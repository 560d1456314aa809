"""Tests run in forked processes as they do in one: failures, skips, crashes, fixtures, and the report at the end."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests import parallel

ROOT = pathlib.Path(__file__).parents[1]
CASES = """
import warnings
import pytest

class TestNumbers:
    @pytest.mark.parametrize("n", [1, 2])
    def test_one(self, n):
        assert n == 1, "two is not one"

@pytest.mark.skip(reason="no harp here: apt-get install harp")
def test_music():
    pass

@pytest.mark.slow
def test_slow():
    print("this was printed")
    warnings.warn("what a test warns of")
    assert False
"""
CRASH = """
import os

def test_before():
    pass

def test_crash():
    os._exit(3)

def test_after():
    pass
"""
PROCESSES = """
import os
import warnings
import pytest

@pytest.fixture(scope="session")
def made():
    yield os.getpid()
    open(f"{os.path.dirname(__file__)}/ended.{os.getpid()}", "w").close()

def test_a(made, tmp_path_factory):
    assert made == os.getpid() != int(os.environ["COLLECTOR"])
    (tmp_path_factory.getbasetemp() / "shared").mkdir(exist_ok=True)

def test_b(made):
    warnings.warn("each file warns once")
    assert made == os.getpid()
"""


@pytest.fixture
def run(tmp_path):
    """run(*files, arguments): (exit code, output) of `tests.parallel` in a process of its own."""

    def go(*contents, arguments=("--workers=2",)):
        for n, content in enumerate(contents):
            (tmp_path / f"test_{n}.py").write_text(content, encoding="utf-8")
        program = (
            "import os, sys; os.environ['COLLECTOR'] = str(os.getpid()); "
            "from tests.parallel import main; sys.exit(main(sys.argv[1:]))"
        )
        options = ["-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--config-file={ROOT}/setup.cfg"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, *options, str(tmp_path)],
            cwd=ROOT, capture_output=True, encoding="utf-8", check=False,
            env={**os.environ, "COLUMNS": "300", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return go


def test_failures_and_skips_of_all_files_are_listed(run):
    code, out = run(CASES, "def test_late():\n    raise ValueError('late')\n", "import nowhere_at_all\n")
    assert code == 1
    for words in (
        r"3 failed, 1 passed, 1 skipped, 1 warning, 1 error",
        r"FAILED \S*test_0.py::TestNumbers::test_one\[2\] - AssertionError: two is not one",
        r"FAILED \S*test_1.py::test_late - ValueError: late",
        r"ERROR \S*test_2.py",
        r"SKIPPED \[1\] \S*test_0.py:\d+: no harp here: apt-get install harp",
        "this was printed",
        "UserWarning: what a test warns of",
        r"processes, \d+ at a time: \d+ seconds of CPU, at most \d+\.\d GB each",
    ):
        assert re.search(words, out), (words, out)


def test_a_process_that_dies_fails_its_test_and_no_other(run):
    code, out = run(CRASH, "def test_fine():\n    pass\n", arguments=["--workers=1"])
    assert code == 1 and "1 failed, 3 passed" in out, out
    assert "the process of this test ended with exit code 3" in out
    assert re.search(r"FAILED \S*test_0.py::test_crash", out)


def test_session_fixtures_stay_from_file_to_file_and_end_with_their_process(run, tmp_path):
    code, out = run(PROCESSES, PROCESSES, arguments=["--workers=1"])
    assert code == 0 and "4 passed" in out, out
    assert len(list(tmp_path.glob("ended.*"))) == 1


def test_a_process_beyond_the_memory_gets_no_further_file(run, tmp_path):
    code, out = run(PROCESSES, PROCESSES, PROCESSES, arguments=["--workers=1", "--memory=0"])
    assert code == 0 and "6 passed, 3 warnings" in out, out
    assert len(list(tmp_path.glob("ended.*"))) == 3


def test_fast_leaves_out_what_is_slow(run):
    code, out = run("def test_fine():\n    pass\n", CASES, arguments=["--fast"])
    assert code == 1 and "1 failed, 2 passed, 1 skipped, 1 deselected" in out, out


def test_started_in_the_background_tests_can_be_interrupted_all_the_same(run):
    interrupts = "import signal\n\ndef test_it():\n    assert callable(signal.getsignal(signal.SIGINT))\n"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, out = run(interrupts, arguments=["--workers=1"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 0, out


def test_all_is_well(run):
    code, out = run("def test_fine():\n    pass\n", arguments=["--workers=1"])
    assert code == 0 and "1 passed" in out, out
    code, out = run("", arguments=["--workers=1"])
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, out


LOGS = """
import contextlib
import io
import logging
import sys

logging.getLogger("a.library").addHandler(logging.StreamHandler(sys.stderr))

def test_log():
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        logging.getLogger("a.library").error("it was logged")
    assert "Logging error" not in errors.getvalue(), errors.getvalue()
"""


def test_a_handler_that_a_module_made_at_its_import_writes_in_a_forked_process(run):
    code, out = run(LOGS, arguments=["--workers=1"])
    assert code == 0, out


def test_a_module_that_runs_tensorflow_at_its_import_is_refused(run):
    code, out = run("import tensorflow as tf\nTENSOR = tf.constant(1)\n\ndef test_it():\n    pass\n")
    assert code == pytest.ExitCode.USAGE_ERROR, out
    assert (
        "test_0.py makes a tensor while it is imported, and TensorFlow that has run cannot be forked." in out
    )


def test_a_wrong_number_of_workers(capsys):
    with pytest.raises(SystemExit, match="2"):
        parallel.main(["--workers=0"])
    assert "--workers is 0, expected 1 or more." in capsys.readouterr().err


def test_the_slowest_files_are_there():
    assert all((ROOT / path).is_file() for path in parallel.SLOWEST)


def test_make_test_gives_its_arguments_on():
    shown = subprocess.run(
        ["make", "-n", "--assume-old=.venv/.ready", "test", "WORKERS=1", "ARGS=tests/text -k 'a or b'"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=True, env={"PATH": os.environ["PATH"]},
    ).stdout  # fmt: skip
    assert "-m tests.parallel --workers=1 tests/text -k 'a or b'" in shown
