"""What goes through an app: where texts come from, how results are printed, and what happens to a bad line."""

import io
import json
import sys

import pytest
from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items, read_items
from tflm.errors import UsageError, UserError

ONE, TWO = ("text",), ("text", "text_pair")


@pytest.fixture
def make_flags():
    """make_flags(*arguments, names=("text",)): parsed flags."""

    def make(*arguments, names=ONE):
        values = flags.FlagValues()
        define_items(values, dict.fromkeys(names, "A text."))
        values(["app", *arguments])
        return values

    return make


@pytest.fixture
def read(make_flags, tmp_path):
    """read("a.tsv", b"...", *arguments): the items of a file of that name; bad ones as their problem."""

    def read(name, content, *arguments, names=ONE):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        items = read_items(make_flags(f"--input={tmp_path / name}", *arguments, names=names), names)
        found = [item.problem or tuple(item.fields[name] for name in names) for item in items]
        return [each[0] if isinstance(each, tuple) and len(names) == 1 else each for each in found]

    return read


def shout(items):
    """Two results for "twice", none for "", one for the rest."""
    for item in items:
        yield [{**item, "loud": item["text"].upper(), "scores": {"a": 0.5}}] * {"twice": 2, "": 0}.get(
            item["text"], 1
        )


def run(*arguments, answer=shout, names=ONE):
    """The exit code of an app that shouts."""
    values = flags.FlagValues()
    define_items(values, dict.fromkeys(names, "A text."))

    def main(values):
        answer_items(values, names, answer, lambda record: record["loud"])

    return run_app(main, values, "", ["app", *arguments])


def test_lines_of_a_file(read):
    content = "\ufeffone\r\n\n你好 \nlast".encode()
    assert read("a.txt", content) == ["one", "", "你好 ", "last"]
    assert read("a.txt", content, "--offset=1", "--limit=2") == ["", "你好 "]
    assert read("empty.txt", b"") == []
    assert len(read("long.txt", "长" * 400_000 + "\n")[0]) == 400_000


def test_lines_of_two_texts(read):
    rows = read("a.txt", "a dog\t一只狗\nonly one\na\tb\tc\n", names=TWO)
    assert rows[0] == ("a dog", "一只狗")
    assert rows[1] == "expected text and text_pair with a tab between; got 1 parts: 'only one'."
    assert rows[2].endswith("got 3 parts: 'a\\tb\\tc'.")


def test_standard_input(make_flags, monkeypatch):
    for arguments in ([], ["--input=-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("你好\nb\n".encode())))
        assert [item.fields["text"] for item in read_items(make_flags(*arguments), ONE)] == ["你好", "b"]


def test_jsonl(read):
    content = '{"text": "two\\nlines", "id": 1}\n\n{"text": "你好"}\n'
    assert read("a.jsonl", content) == ["two\nlines", "你好"]
    assert read("a.jsonl", '{"review": "好"}', "--text_column=review") == ["好"]
    assert read("a.jsonl", '{"text": 3.5}') == ["3.5"]
    assert read("b.jsonl", '{"text": "a", "text_pair": "b"}', names=TWO) == [("a", "b")]


def test_a_table(read):
    content = 'id\ttext\tlabel\n1\ta "b\tx\n2\t你好\ty\r\n'
    assert read("a.tsv", content) == ['a "b', "你好"]
    assert read("a.tsv", content, "--text_column=label") == ["x", "y"]
    assert read("a.tsv", "甲\t1\n乙\t2\n", "--text_column=0") == ["甲", "乙"]
    assert read("a.tsv", "甲\t1\n乙\n", "--text_column=1") == [
        "1",
        "expected 2 or more cells with tabs between; got 1: '乙'.",
    ]
    assert read("a.tsv", content + "3\n")[2] == "expected 3 cells with tabs between; got 1: '3'."


def test_a_column_that_is_not_there(read):
    with pytest.raises(
        UserError, match=r"no column 'text': its first line is \['id', 'review'\]. .*--text_column=NAME"
    ):
        read("a.tsv", "id\treview\n1\tgood\n")
    with pytest.raises(UserError, match="no column 'text': its first line is"):
        read("a.tsv", b"")


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.txt", b"b\xffd\n", "not UTF-8: invalid start byte at byte 1. Save the file as UTF-8."),
        ("a.jsonl", b'{"text": \n', 'not JSON: Expecting value at column 10. Expected {"text": "..."}.'),
        ("a.jsonl", b"[" * 200_000, 'nested too deep. Expected {"text": "..."}.'),
        ("a.jsonl", b"[1]\n", 'expected {"text": "..."}; got [1]'),
        ("a.jsonl", b'{"text": true}\n', 'expected {"text": "..."}; got {"text": true}'),
        ("a.jsonl", b'{"txt": "a"}\n', 'expected {"text": "..."}; got {"txt": "a"}'),
    ],
)
def test_a_bad_line_is_an_item_and_the_next_one_is_read(read, name, content, words):
    good = b'{"text": "good"}\n' if name.endswith("jsonl") else b"good\n"
    problem, after = read(name, content.rstrip(b"\n") + b"\n" + good)
    assert words in problem
    assert after == "good"


def test_a_file_that_cannot_be_read(read, make_flags, tmp_path):
    with pytest.raises(UserError, match=r"cannot read --input=.*none.txt: No such file or directory."):
        list(read_items(make_flags(f"--input={tmp_path}/none.txt"), ONE))
    with pytest.raises(UserError, match=r"cannot read --input=.*: Is a directory."):
        list(read_items(make_flags(f"--input={tmp_path}"), ONE))


def test_half_of_a_pair(make_flags):
    with pytest.raises(UsageError, match=r"--text_pair is needed beside --text\."):
        list(read_items(make_flags("--text=a", names=TWO), TWO))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_results_in_order_and_bad_lines_marked_in_their_place(capsys, tmp_path, batch_size):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\ntwice\nb\xff\n\nc\n")
    arguments = [f"--input={path}", f"--batch_size={batch_size}"]
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    problem = f"{path}, line 3: not UTF-8: invalid start byte at byte 1. Save the file as UTF-8."
    assert out.splitlines() == ["A", "TWICE", "TWICE", f"# error: {problem}", "C"]
    first = "1 of 5 lines could not be read and are marked in the output; the first is"
    assert err == f"error: {first} {problem}\n"
    run(*arguments, "--format=json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"text": "a", "loud": "A", "scores": {"a": 0.5}}
    assert lines[3] == {"error": problem}
    run(*arguments, "--format=tsv")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["text\tloud\tscores.a", "a\tA\t0.5"]
    assert lines[4] == f"# error: {problem}"


def test_a_table_has_no_tabs_or_line_ends_in_its_cells(capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\tb\\r\\nc"}\n', encoding="utf-8")
    assert run(f"--input={tmp_path}/a.jsonl", "--format=tsv") == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[0] == "a b  c"


def test_what_was_answered_stays_when_the_work_fails_or_is_interrupted(capsys, tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\nc\n", encoding="utf-8")
    for error, code in ((UserError("the server has gone."), 1), (KeyboardInterrupt(), 130)):

        def answer(items, error=error):
            if items[0]["text"] == "c":
                raise error
            yield from shout(items)

        assert run(f"--input={tmp_path}/a.txt", "--batch_size=2", answer=answer) == code
        assert capsys.readouterr().out == "A\nB\n"
