"""`tflm chat --web`: the server behind the page, its address, its end."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.serving.web import parrot


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web_chat")
    parrot.write(folder)
    return folder


def test_the_page_of_a_folder_until_ctrl_c(models):
    """One version, which is not the highest, of a model of two."""
    hidden = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "apps.chat", f"--model={models}/parrot/1", "--web"]
    with subprocess.Popen(
        command, env=hidden, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        try:
            words = running.stdout.readline().split()
            assert words[0] == "open" and words[-2:] == ["Ctrl-C", "ends."], running.stderr.read()
            with urllib.request.urlopen(words[1], timeout=20) as response:
                assert b'id="composer"' in response.read()
            with urllib.request.urlopen(f"{words[1]}web/models", timeout=20) as response:
                [model] = json.load(response)["models"]
            assert (model["name"], [each["version"] for each in model["versions"]]) == ("parrot", [1])
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=30) == 0
        finally:
            running.kill()
        assert "Traceback" not in running.stderr.read()


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ((), 2, "--model is needed: a folder such as --model=saved_models/NAME."),
        (("--model=x", "--temperature=1"), 2, "--web goes with --model alone: leave out --temperature."),
        (("--model=nowhere",), 1, "no folder 'nowhere'. A model is saved_models/NAME"),
        (("--model=http://h:8501/v1/models/m",), 1, "when it is started with `tflm serve --web`"),
    ],
    ids=["no model", "a setting", "no folder", "a server's"],
)
def test_what_it_does_not_take(call, arguments, code, words):
    done = call("chat", "--web", *arguments)
    assert (done.code, words in done.err) == (code, True), done.err


def test_which_versions_are_served(models, tmp_path):
    from apps.common.web_chat import folder_config
    from tflm.errors import UserError

    assert list(folder_config(f"{models}/parrot").wanted()) == [2]
    assert list(folder_config(f"{models}/parrot/1/").wanted()) == [1]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "saved_model.pb").touch()
    with pytest.raises(UserError, match="needs a number for its name, as saved_models/NAME/1: rename it"):
        folder_config(str(tmp_path / "mine"))


def test_where_there_is_a_display(monkeypatch):
    from apps.common import web_chat

    monkeypatch.setattr(web_chat.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not web_chat.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert web_chat.has_display()
