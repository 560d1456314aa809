"""What goes through an app: where texts come from, how results are printed, and what happens to a bad line."""

import csv
import gzip
import io
import json
import subprocess
import sys

import pytest
from absl import flags

from apps.common.command_line import run_app
from apps.common.input_rows import Item
from apps.common.items import Printer, answer_items, define_items, read_items
from tflm.data.sources.tables import read_table
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
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO("你好\nb\n".encode()), encoding="utf-8")
        )
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
        "expected 2 cells with tabs between; got 1: '乙'.",
    ]
    assert read("a.tsv", content + "3\n")[2] == "expected 3 cells with tabs between; got 1: '3'."


def test_a_column_that_is_not_there(read):
    for name, content in (("a.tsv", "id\treview\n1\tgood\n"), ("a.csv", "id,review\n1,good\n")):
        with pytest.raises(
            UserError, match=r"no column 'text'; the columns are id, review. .*--text_column=NAME"
        ):
            read(name, content)
        with pytest.raises(UserError, match=r"a.* is empty; its first line should name the columns"):
            read(name, b"")
    with pytest.raises(
        UserError, match=r"line 1: no column 'texts'; .*did you mean 'text'.*--text_column=NAME"
    ):
        read("a.csv", "id,text\n", "--text_column=texts")
    with pytest.raises(UserError, match=r"no column '2'; the columns are 0, 1\. .*--text_column=NUMBER"):
        read("a.csv", "好,1\n", "--text_column=2")
    with pytest.raises(UserError, match="columns 1 and 3 are both named 'text'"):
        read("a.csv", "text,id,text\na,1,b\n")


ROWS = [("a, b", "一\n二"), ('say "hi"', "x"), (" c", "好")]
TABLES = {
    "csv": 'id, text ,text_pair\r\n1,"a, b","一\r\n二"\r\n\r\n2,"say ""hi""",x\r\n3, c,好'.encode(),
    "ndjson": "\n".join(
        json.dumps({"text": a, "text_pair": b}, ensure_ascii=False) for a, b in ROWS
    ).encode(),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name, kind",
    [
        *((name, "csv") for name in ("q.csv", "Q.CSV", "问题.Csv")),
        *((name, "ndjson") for name in ("q.jsonl", "q.JSONL", "q.ndjson", "q.json")),
    ],
)
def test_a_file_is_read_by_its_ending(read, name, kind, packed):
    content, name = (gzip.compress(TABLES[kind]), name + ".gz") if packed else (TABLES[kind], name)
    assert read(name, content, names=TWO) == ROWS
    assert read(name.replace(".gz", ".GZ"), content, names=TWO) == ROWS


@pytest.mark.parametrize("source", ["csv", "tsv"])
@pytest.mark.parametrize("columns", [("text", " text_pair"), ("0", "1"), ("1", "0")])
def test_a_table_is_read_as_for_training(read, tmp_path, source, columns):
    """Rows, bad rows, blank lines, blanks around the names, and columns by number."""
    content = "text, text_pair\nb ,2\n\n你好,三\nd\ne,5,5\n"
    content = content if source == "csv" else content.replace(",", "\t")
    arguments = [f"--{field}_column={column}" for field, column in zip(TWO, columns)]
    found = read(f"a.{source}", content, *arguments, names=TWO)
    rows = list(read_table([f"{tmp_path}/a.{source}"], dict(zip(TWO, columns)), source))
    assert len(found) == len(rows) == 4 + (columns[0] != "text")
    for item, row in zip(found, rows):
        assert item == tuple(row.example.values()) or (row.problem and "expected 2 cells" in item)


def test_a_stray_quotation_mark_counts_the_lines_that_it_takes(tmp_path, capsys):
    """Not one bad row: the ten lines that are lost."""
    lines = ["text,id", *(f"第{number}行,{number}" for number in range(5)), '"open,5']
    lines += [f"lost {number},{number}" for number in range(9)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert run(f"--input={tmp_path}/a.csv") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[:5] == [f"第{number}行" for number in range(5)]
    assert out.splitlines()[5].startswith(
        f"# error: {tmp_path}/a.csv, lines 7 to 16: lines joined by a stray"
    )
    assert err.startswith(
        "error: 10 of 15 lines could not be read and are marked in the output; the first is"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz"])
def test_a_byte_order_mark_decides_the_encoding(read, name, encoding):
    lines = ["first text", "第二行"]
    if "jsonl" in name:
        lines = [json.dumps({"text": line}, ensure_ascii=False) for line in lines]
    elif "txt" not in name:
        lines = ["text", *lines]
    content = "\r\n".join(lines).encode(encoding)
    assert read(name, gzip.compress(content) if name.endswith("gz") else content) == ["first text", "第二行"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("text", ["text\nhello\n", "你好\n再见 1\n" * 9])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl.gz"])
def test_utf16_without_a_mark_is_refused_by_name(read, name, text, encoding):
    content = text.encode(encoding)
    with pytest.raises(UserError, match=f"a.* looks like {encoding.upper()} without.*save the file as UTF-8"):
        read(name, gzip.compress(content) if name.endswith("gz") else content)


def test_standard_input_in_another_encoding(make_flags, monkeypatch):
    def piped(content):
        stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        return [item.fields["text"] for item in read_items(make_flags(), ONE)]

    assert piped("你好\r\nb\r\n".encode("utf-16")) == ["你好", "b"]
    with pytest.raises(UserError, match="standard input looks like UTF-16-LE without a byte-order mark"):
        piped("你好\nb\n".encode("utf-16-le"))


def test_how_standard_input_is_written(make_flags, monkeypatch):
    for source, content in (
        ("csv", 'text\n"a\nb"\n'),
        ("tsv", "id\ttext\n1\ta\n"),
        ("jsonl", '{"text": "a"}'),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode()), encoding="utf-8"))
        items = list(read_items(make_flags(f"--input_format={source}"), ONE))
        assert [item.fields["text"] for item in items] == ["a\nb" if source == "csv" else "a"]


def test_what_is_said_of_the_format_goes_before_the_ending(read):
    assert read("a.csv", "text,one\n", "--input_format=text") == ["text,one"]
    assert read("a.dat", "text,one\n好,1\n", "--input_format=csv") == ["好"]


@pytest.mark.parametrize(
    "content, words",
    [
        (
            '[{"text": "a"}, {"text": "b"}]',
            "q.json is a JSON array; write one object a line, in a file that ends in",
        ),
        ('{\n  "text": "你好"\n}\n', "q.json is JSON over several lines; write one object a line"),
    ],
)
def test_json_that_is_no_object_a_line_is_refused(read, content, words):
    with pytest.raises(UserError, match=words):
        read("q.json", content)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.txt.gz", gzip.compress(b"a text\n" * 999)[:-12], "cannot read --input=.*end-of-stream marker"),
        ("a.txt.gz", b"no gzip", "cannot read --input=.*Not a gzipped file"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.csv is not a text file: it holds NUL bytes"),
        ("a.txt", "hello\n".encode("utf-16") + b"a", "a.txt is damaged UTF-16"),
    ],
    ids=["cut off", "not packed", "a picture", "damaged"],
)
def test_a_file_that_is_no_text_is_refused_by_name(read, name, content, words):
    with pytest.raises(UserError, match=words):
        read(name, content)


def test_a_nul_after_the_first_bytes_marks_its_line(read):
    rows = read("a.txt", b"fine\n" * 2000 + b"a\0b\nlast\n")
    assert rows[2000:] == [
        "not text: it holds a NUL at character 2. Remove it, or save the file as UTF-8.",
        "last",
    ]
    assert "not UTF-8" in read("a.csv", "text,id\n好,1\n".encode() + "好,2\n".encode("gb18030") + b"c,3\n")[1]


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
    with pytest.raises(UsageError, match=r"--text_pair is required with --text\."):
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


def test_results_as_csv(capsys, tmp_path):
    records = [
        {"text": 'say "hi", 你好\nb', "scores": {"a": 0.5}, "parts": [1, 2]},
        {"text": "c", "parts": []},
    ]
    printer = Printer("csv", str)
    for record in records:
        printer.show(record)
    printer.mark(Item("a.csv, line 3", {}, "not UTF-8, sorry"))
    assert list(csv.reader(io.StringIO(capsys.readouterr().out, newline=""), strict=True)) == [
        ["text", "scores.a", "parts"],
        ['say "hi", 你好\nb', "0.5", "[1, 2]"],
        ["c", "", "[]"],
        ["# error: a.csv, line 3: not UTF-8, sorry"],
    ]


def test_what_was_answered_stays_when_the_work_fails_or_is_interrupted(capsys, tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\nc\n", encoding="utf-8")
    for error, code in ((UserError("the server has gone."), 1), (KeyboardInterrupt(), 130)):

        def answer(items, error=error):
            if items[0]["text"] == "c":
                raise error
            yield from shout(items)

        assert run(f"--input={tmp_path}/a.txt", "--batch_size=2", answer=answer) == code
        assert capsys.readouterr().out == "A\nB\n"


def test_a_table_is_read_without_tensorflow(tmp_path):
    """Training's rules, but nothing heavy: a client of a server has no TensorFlow."""
    code = "import sys, apps.common.items, tflm.data.sources.tables; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
