"""Conversation by command: through a pipe, and in a terminal."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from tflm.serving.client.remote import Unavailable
from tflm.serving.runtime.local import LocalModel

QUESTIONS = ["What is AI?", "你是谁"]


def answers(chat, temperature=0.0, **settings):
    settings = {"temperature": temperature, "min_new_tokens": 3, "max_new_tokens": 36, **settings}
    return [chat.in_memory([question], **settings)[0] for question in QUESTIONS]


def said(chat, *questions, **settings):
    """What the model says to each question after the earlier ones, by the `chat` signature of the run itself."""
    messages, found = [], []
    for question in questions:
        messages.append(("user", question))
        found.append(chat.in_memory_chat([messages], min_new_tokens=3, max_new_tokens=36, **settings)[0])
        messages.append(("assistant", found[-1]))
    return found


def test_a_conversation_through_a_pipe(chat, call):
    stdin = f"{QUESTIONS[0]}\n\n  \n{QUESTIONS[1]}\n".encode()
    done = call("chat", f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0", stdin=stdin)
    assert (done.code, done.err.count("error")) == (0, 0)
    assert done.lines == said(chat, *QUESTIONS), "blank lines are no questions, and the second sees the first"


def test_reset_forgets(chat, call):
    """Sampled, so that the least difference in what the model sees makes another text."""
    stdin = f"{QUESTIONS[0]}\n/reset\n{QUESTIONS[1]}\n".encode()
    arguments = ("--min_new_tokens=3", "--temperature=1", "--seed=3")
    done = call("chat", f"--model={chat.model}", *arguments, stdin=stdin)
    fresh = [said(chat, question, temperature=1.0, seed=3)[0] for question in QUESTIONS]
    assert done.out == "".join(f"{answer}\n" for answer in fresh)
    assert said(chat, *QUESTIONS, temperature=1.0, seed=3)[1] != fresh[1], "or the test shows nothing"


def test_streamed_equals_unstreamed(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0.9", "--seed=5")
    stdin = "\n".join(QUESTIONS).encode()
    whole, streamed = (
        call("chat", *arguments, f"--stream={value}", stdin=stdin) for value in ("false", "true")
    )
    assert whole.code == streamed.code == 0
    assert whole.out == streamed.out and len(whole.lines) >= 2


def test_save_and_load(chat, call, tmp_path):
    path = f"{tmp_path}/对话.json"
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0")
    first = call("chat", *arguments, stdin=f"{QUESTIONS[0]}\n/save {path}\n".encode())
    assert f"saved: {path}" in first.err
    with open(path, encoding="utf-8") as file:
        assert json.load(file)["messages"] == [
            {"role": "user", "content": QUESTIONS[0]},
            {"role": "assistant", "content": first.lines[0]},
        ]
    second = call("chat", *arguments, stdin=f"/load {path}\n{QUESTIONS[1]}\n/history\n".encode())
    assert second.lines == said(chat, *QUESTIONS)[1:]
    for line in (f"loaded: {path}, 2 messages", f"user: {QUESTIONS[0]}", f"assistant: {second.lines[0]}"):
        assert line in second.err


def test_what_is_saved_can_be_trained_on(chat, call, tmp_path):
    from tflm.data import DataConfig, read_examples

    path = f"{tmp_path}/a.jsonl"
    call("chat", f"--model={chat.model}", "--min_new_tokens=3", stdin=f"Hello\n/save {path}\n".encode())
    config = DataConfig(source="jsonl", path=path, messages_column="messages", eval_fraction=0.0)
    [example] = read_examples(config, "train")
    assert json.loads(example["messages"])[0] == {"role": "user", "content": "Hello"}


def test_a_system_text(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0")
    flag = call("chat", *arguments, "--system=说中文", stdin=b"Hello\n")
    command = call("chat", *arguments, stdin="/system 说中文\nHello\n/system\n/reset\nHello\n".encode())
    messages = [("system", "说中文"), ("user", "Hello")]
    settings = {"min_new_tokens": 3, "max_new_tokens": 36}
    expected = chat.in_memory_chat([messages, messages[1:]], **settings)
    assert flag.lines == expected[:1] and command.lines == expected


def test_old_turns_are_left_out_with_a_note(chat, call):
    lines = [f"question number {n} of many, and a long one" for n in range(6)]
    stdin = "\n".join([*lines, "/reset", lines[0]]).encode()
    done = call("chat", f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0", stdin=stdin)
    assert done.code == 0 and len(done.lines) == 7
    assert "of the oldest messages no longer fit)" in done.err
    assert done.lines[0] == done.lines[-1]


def test_lines_of_a_file_stand_alone(chat, call, tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(f"{QUESTIONS[0]}\n\n{QUESTIONS[1]}\n/reset\n", encoding="utf-8")
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0", "--format=json")
    done = call("chat", *arguments, f"--input={path}", "--batch_size=4")
    records = [json.loads(line) for line in done.lines]
    assert [record["question"] for record in records] == [*QUESTIONS, "/reset"], (
        "commands are for conversations"
    )
    assert [record["answer"] for record in records[:2]] == answers(chat)


def test_one_question(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3", "--text=你是谁", "--format=json")
    done = call("chat", *arguments)
    assert json.loads(done.out) == {"question": "你是谁", "answer": answers(chat)[1], "truncated": False}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"/what", "no command '/what'; /help lists what there is."),
        (b"/load nowhere.json", "cannot read 'nowhere.json': No such file"),
        (b"/load setup.cfg", "'setup.cfg' is no conversation: expected {\"messages\""),
        (b"/save /no/such/folder/x", "cannot write '/no/such/folder/x'"),
        (b"/set temperature=-1", "temperature is -1.0, expected 0 (greedy) or a positive number"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_line_that_goes_wrong_is_told_and_the_rest_goes_on(chat, call, checkout, monkeypatch, line, words):
    monkeypatch.chdir(checkout)
    stdin = b"/set max_new_tokens=4\n" + line + b"\nHello\n"
    done = call("chat", f"--model={chat.model}", stdin=stdin)
    assert done.code == 1 and words in done.err
    assert "1 lines went wrong" in done.err and len(done.lines) >= 1


def test_a_text_that_begins_with_a_slash(chat, call):
    done = call("chat", f"--model={chat.model}", "--format=json", stdin=b"//quit\n/quit\nHello\n")
    assert [json.loads(line)["question"] for line in done.lines] == ["/quit"]


def test_a_model_of_single_questions(call, pairs):
    """It has no memory, and says so; a system text it refuses."""
    done = call("chat", f"--model={pairs.model}", stdin=b"Hello\nHello\n")
    assert done.code == 0 and done.lines[0] == done.lines[1]
    done = call("chat", f"--model={pairs.model}", "--system=x", stdin=b"Hello\n")
    assert done.code == 1 and "answers single questions and takes no system text" in done.err


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
    assert terminal.seen == "/help lists the commands, /quit or Ctrl-D ends.\n"
    assert [terminal.say(question) for question in QUESTIONS] == said(chat, *QUESTIONS), "streamed"
    assert "temperature=0.0\n" in terminal.say("/settings")
    for line in ("/reset", "/set temperature=0.7", "/set seed = 4"):
        assert terminal.say(line) == ""
    settings = terminal.say("/settings")
    assert "temperature=0.7\n" in settings and "seed=4\n" in settings
    for question in QUESTIONS:
        # One by one: a second turn goes on from the tokens as they were drawn, `said` from those that spell their text.
        assert [terminal.say(question)] == said(chat, question, temperature=0.7, seed=4)
        assert terminal.say("/reset") == ""
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


def test_a_server_that_goes_away_does_not_end_the_conversation(chat, call, monkeypatch):
    """How a model behind a URL fails is tested with real servers; here it is what the app makes of it."""
    predict, is_away = LocalModel.predict, False

    def predict_if_there(self, *arguments):
        if is_away:
            raise Unavailable("http://h:1/v1/models/m: cannot connect to the server.")
        return predict(self, *arguments)

    def typed():
        nonlocal is_away
        yield QUESTIONS[0]
        is_away = True
        yield QUESTIONS[1]
        is_away = False
        yield QUESTIONS[1]
        yield "/history"
        raise EOFError

    lines = typed()
    monkeypatch.setattr(LocalModel, "predict", predict_if_there)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    done = call("chat", f"--model={chat.model}", "--min_new_tokens=3", "--temperature=0", at_terminal=True)
    answers = said(chat, *QUESTIONS)
    assert (done.code, done.lines) == (0, [*answers, ""]), "the last is of Ctrl-D"
    assert "cannot connect to the server. The conversation is kept: ask again, or /save it." in done.err
    spoken = [text for pair in zip(QUESTIONS, answers, strict=True) for text in pair]
    told = zip(("user", "assistant") * 2, spoken, strict=True)
    assert "\n".join(f"{who}: {text}" for who, text in told) in done.err
