"""`tflm report`."""

import shutil

import pytest

from tests.apps.refusals import check


@pytest.fixture(scope="module")
def run(chat, tmp_path_factory):
    """A copy of a run, in a folder with a Chinese name."""
    folder = tmp_path_factory.mktemp("report") / "对话"
    shutil.copytree(chat.workdir, folder)
    return folder


def test_a_page_in_the_folder_of_the_run(call, run):
    done = call("report", f"--workdir={run}")
    assert (done.code, done.lines) == (0, ["对话: complete, 24 steps", f"report: {run}/report.html"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "tiny_chat" in page and "<svg" in page


def test_several_runs_without_the_name_of_the_flag(call, run, decoder, tmp_path):
    done = call("report", str(run), decoder.workdir, f"--output={tmp_path}/pages/both.html")
    assert (done.code, len(done.lines)) == (0, 3)
    assert "<h1>2 runs</h1>" in (tmp_path / "pages/both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "--workdir is needed: the folder of a run"),
        (["--workdir=没有"], 1, "'没有' holds no run: there is no config.json."),
        (["--workdir=RUN", "RUN"], 2, "is given twice."),
        (["--workdir=RUN", "--output=RUN"], 2, "is a folder: give a file, such as"),
        (["--workdir=RUN", "--output=RUN/config.json/a.html"], 1, "cannot write the report into"),
    ],
)
def test_refusals(call, run, arguments, code, words):
    done = call("report", *(argument.replace("RUN", str(run)) for argument in arguments))
    check(done, code, words)
