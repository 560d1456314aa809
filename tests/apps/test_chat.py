"""Conversation by command: through a pipe, and in a terminal."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

QUESTIONS = ["What is AI?", "你是谁"]


def answers(chat, temperature=0.0, **settings):
    settings = {"temperature": temperature, "min_new_tokens": 3, "max_new_tokens": 36, **settings}
    return [chat.in_memory([question], **settings)[0] for question in QUESTIONS]


def test_through_a_pipe(chat, call):
    stdin = f"{QUESTIONS[0]}\n\n  \n{QUESTIONS[1]}\n".encode()
    done = call("chat", f"--model={chat.model}", "--min_new_tokens=3", stdin=stdin)
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{answer}\n" for answer in answers(chat)), "blank lines are no questions"


def test_one_question(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--text=你是谁", "--format=json")
    done = call("chat", *arguments)
    assert json.loads(done.out) == {"question": "你是谁", "answer": answers(chat)[1]}


def test_commands_are_for_the_terminal_alone(chat, call):
    done = call("chat", f"--model={chat.model}", "--format=json", stdin=b"/quit\nHello\n")
    assert [json.loads(line)["question"] for line in done.lines] == ["/quit", "Hello"]


class Terminal:
    """`python -m apps.chat` on a pseudo-terminal."""

    def __init__(self, checkout: str, *arguments: str) -> None:
        self.screen, child = pty.openpty()
        command = [sys.executable, "-m", "apps.chat", *arguments]
        self.process = subprocess.Popen(
            command, cwd=checkout, stdin=child, stdout=child, stderr=child, env={**os.environ, "TERM": "dumb"}
        )
        os.close(child)
        self.seen = self.until("> ")

    def until(self, end: str, seconds: float = 120.0) -> str:
        """What is shown up to `end`."""
        shown, deadline = b"", time.monotonic() + seconds
        while not shown.endswith(end.encode()):
            ready, _, _ = select.select([self.screen], [], [], deadline - time.monotonic())
            assert ready, f"no {end!r} in {shown.decode(errors='replace')!r}"
            shown += os.read(self.screen, 4096)
        return shown.decode("utf-8").replace("\r\n", "\n").removesuffix(end)

    def say(self, line: str) -> str:
        """Types a line; returns what the app says to it."""
        os.write(self.screen, f"{line}\n".encode())
        return self.until("> ").removeprefix(line).strip("\n")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(chat, checkout):
    terminal = Terminal(checkout, f"--model={chat.model}", "--min_new_tokens=3")
    yield terminal
    terminal.close()


def test_in_a_terminal(terminal, chat):
    greedy, warm = answers(chat), answers(chat, temperature=0.7, seed=4)
    assert terminal.seen == "/help lists the commands, /quit or Ctrl-D ends.\n"
    assert [terminal.say(question) for question in QUESTIONS] == greedy
    assert "temperature=0.0\n" in terminal.say("/settings")
    assert [terminal.say(line) for line in ("/set temperature=0.7", "/set seed = 4")] == ["", ""]
    settings = terminal.say("/settings")
    assert "temperature=0.7\n" in settings and "seed=4\n" in settings
    assert [terminal.say(question) for question in QUESTIONS] == warm
    assert terminal.say("/set temprature=1").endswith("Did you mean temperature?")
    assert terminal.say("/set top_p=7") == (
        "error: top_p is 7.0, expected a number from 0 to 1 (off). Set another top_p."
    )
    assert terminal.say("/set seed=abc") == "error: seed takes int; got 'abc'."
    assert terminal.say("/settings") == settings, "what was refused changed nothing"
    for line in ("/help", "/set temperature", "/what"):
        assert "/set NAME=VALUE  change a setting" in terminal.say(line)
    os.write(terminal.screen, b"\x04")  # Ctrl-D
    assert terminal.process.wait(timeout=60) == 0


def test_quit(chat, call, monkeypatch):
    lines = iter(["", "Hello", "/quit", "not asked any more"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    done = call("chat", f"--model={chat.model}", "--min_new_tokens=3", at_terminal=True)
    assert done.code == 0
    assert len(done.lines) == 1 and next(lines) == "not asked any more"
