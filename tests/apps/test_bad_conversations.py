"""What a conversation refuses, in a pipe: it goes on, and tells of it at the end."""

import gzip

import pytest

from tests.apps import small_models
from tests.apps.refusals import check

CONVERSATIONS = {
    "latin.json": b"caf\xe9",
    "empty.json": b"",
    "deep.json": '{"messages": ' + "[" * 100_000,
    "digits.json": '{"messages": ' + "1" * 5000 + "}",
    "list.json": "[]",
    "role.json": '{"messages": [{"role": "boss", "content": "a"}]}',
    "content.json": '{"messages": [{"role": "user", "content": 5}]}',
    "wide.json": '{"messages": [{"role": "user", "content": "你好"}]}'.encode("utf-16-le"),
    "gbk.json": '{"messages": [{"role": "user", "content": "你好"}]}'.encode("gbk"),
    "surrogate.json": '{"messages": [{"role": "user", "content": "\\ud800你"}]}',
}
# What is said in a conversation, one line each -> the words of the error.
COMMANDS = [
    ("/nonsense", "no command '/nonsense'; /help lists what there is."),
    ("/", "no command '/'"),
    ("/quit now", "no command '/quit now'"),
    ("/设置 a=1", "no command '/设置 a=1'"),
    ("/set temperature", "no command '/set temperature'"),
    ("/set heat=1", "there is no setting heat. The settings are seed, temperature, "),
    ("/set temperature=hot", "temperature takes float; got 'hot'."),
    ("/set temperature=nan", "temperature is nan, expected 0 (greedy)"),
    ("/set max_new_tokens=1e3", "max_new_tokens takes int; got 1000.0."),
    ("/set seed=" + "9" * 5000, "seed takes int; got inf."),
    ("/save", "no command '/save'"),
    ("/save {d}", "cannot write '{d}': Is a directory."),
    ("/save {d}/none/a", "cannot write '{d}/none/a': No such file or directory."),
    ("/save a\0b", "not text: it holds a NUL at character 8. Remove it, or save the file as UTF-8."),
    ("/load {d}/none", "cannot read '{d}/none': No such file or directory."),
    ("/load {d}", "cannot read '{d}': Is a directory."),
    ("/load {d}/latin.json", "latin.json' is not UTF-8: "),
    ("/load {d}/wide.json", "wide.json' looks like UTF-16-LE without a byte-order mark; save the file as"),
    ("/load {d}/gbk.json", "gbk.json' is not UTF-8: "),
    ("/load {d}/empty.json", "is no conversation: expected "),
    ("/load {d}/deep.json", "is no conversation: expected "),
    ("/load {d}/digits.json", "is no conversation: expected "),
    ("/load {d}/list.json", "is no conversation: expected "),
    ("/load {d}/role.json", "is no conversation: expected "),
    ("/load {d}/content.json", "is no conversation: expected "),
    (b"\xff", "not UTF-8: invalid start byte at byte 0."),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder {d} with CONVERSATIONS; and two models."""
    folder = tmp_path_factory.mktemp("talks") / "对 话"
    talker = small_models.save(folder / "talker", "chat", "generate", "chat")
    writer = small_models.save(folder / "writer", "language_modeling", "generate")
    for name, content in CONVERSATIONS.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"d": str(folder), "talker": talker, "writer": writer}


@pytest.mark.parametrize(("line", "words"), COMMANDS)
def test_what_a_conversation_refuses(call, files, line, words):
    """The conversation goes on as if the line had not been said."""
    line = line if isinstance(line, bytes) else line.format(**files).encode()
    done = call("chat", f"--model={files['talker']}", stdin="你\n".encode() + line + b"\nb\n")
    assert done.code == 1
    answers = [answer for answer in done.lines if not answer.startswith("# error: ")]
    assert answers == ["<你>", "<你|<你>|b>"]
    last = done.err.splitlines()[-1]
    assert last.startswith("error: 1 lines went wrong; the first is standard input, line 2: ")
    assert words.format(**files) in last


def test_a_conversation_with_a_lone_surrogate_is_saved_and_loaded(call, files, tmp_path):
    lines = f"/load {files['d']}/surrogate.json\n/save {tmp_path}/a\n/load {tmp_path}/a\nb\n"
    done = call("chat", f"--model={files['talker']}", stdin=lines.encode())
    check(done, 0)
    assert (tmp_path / "a").read_text(encoding="utf-8") == CONVERSATIONS["surrogate.json"] + "\n"


def test_a_conversation_in_utf16_is_loaded(call, files, tmp_path):
    line = '{"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "好"}]}\r\n'
    for content in (line.encode("utf-16"), gzip.compress(line.encode())):
        (tmp_path / "a").write_bytes(content)
        done = call("chat", f"--model={files['talker']}", stdin=f"/load {tmp_path}/a\nb\n".encode())
        check(done, 0)
        assert done.lines == ["<你好|好|b>"]


def test_a_system_text_for_a_model_that_takes_none(call, files):
    done = call("chat", f"--model={files['writer']}", "--system=a", stdin=b"a\n")
    check(done, 1, "this model answers single questions and takes no system text.")
