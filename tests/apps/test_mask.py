"""`tflm mask`: lines, tables and JSON lines stay as they are but for what is masked; counts, reports, refusals."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from tests.apps.conftest import call
from tests.apps.refusals import check

TABLE = """id,文本,"note"
1,"打13812345678, ""急"" a@b.com
second 10.1.2.3",ok 13812345678

2,plain 110105-19491231-002X,x
"""


@pytest.fixture(name="mask")
def mask_fixture(tmp_path):
    """mask(content, *flags, name="a.txt") -> what `tflm mask` of a file of this content gives."""

    def mask(content, *arguments, name="a.txt"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return call("mask", f"--input={tmp_path}/{name}", *arguments)

    return mask


def test_lines(mask):
    done = mask("打13812345678，邮箱a@b.com\n\nnothing 1.2.3.4\n")
    assert (done.code, done.out) == (0, "打<phone>，邮箱<email>\n\nnothing 1.2.3.4\n")
    assert done.err == "3 lines; masked: chinese_mobile 1, email 1.\n"
    assert mask("").err == "0 lines; masked: nothing.\n"


def test_bytes_that_are_not_masked_stay(tmp_path):
    """In a process of its own: bytes that are not UTF-8 come out as they went in."""
    given = b"\xef\xbb\xbfcall 13812345678\r\n\r\n\xff bytes\tto a@b.com"
    done = subprocess.run(
        [sys.executable, "-m", "apps.mask", "--input=-"], input=given, capture_output=True, check=True
    )
    assert done.stdout == b"\xef\xbb\xbfcall <phone>\r\n\r\n\xff bytes\tto <email>"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], TABLE),
        (["--columns=文本"], TABLE),
        (["--columns=note,文本", "--kinds=chinese_mobile"], TABLE),
    ],
)
def test_csv(mask, arguments, expected):
    expected = expected.replace('打13812345678, ""', '打<phone>, ""')
    if arguments != ["--columns=文本"]:
        expected = expected.replace("ok 13812345678", "ok <phone>")
    if "--kinds=chinese_mobile" not in arguments:
        expected = expected.replace("a@b.com", "<email>").replace("10.1.2.3", "<ip>")
        expected = expected.replace("110105-19491231-002X", "<id>")
    done = mask(TABLE, *arguments, name="a.csv")
    assert (done.code, done.out) == (0, expected)


def test_tsv_by_number_and_packed(mask):
    content = gzip.compress(b'a@b.com\t"a@b.com\n\nx\ta@b.com')
    done = mask(content, "--columns=1", name="a.tsv.gz")
    assert done.out == 'a@b.com\t"<email>\n\nx\t<email>'


def test_json_lines(mask, tmp_path):
    given = '{"a": "\\u7535 13812345678", "n": 13812345678,"l": [1.50, {"b": "x@y.org"}], "m": "好"}\n'
    given += '\n{"a": "x@y.org"}\n'
    expected = given.replace(' 13812345678"', ' <phone>"')
    done = mask(given, "--columns=a", name="a.jsonl")
    assert done.out == expected.replace('{"a": "x@y.org"', '{"a": "<email>"')
    expected = expected.replace(" 13812345678,", ' "<phone>",').replace("x@y.org", "<email>")
    done = mask(given, f"--report={tmp_path}/r.json", name="a.jsonl")
    assert done.out == expected
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report == {
        "input": f"{tmp_path}/a.jsonl",
        "num_lines": 3,
        "counts": {"chinese_mobile": 2, "email": 2},
        "first_lines": {"chinese_mobile": [1, 1], "email": [1, 3]},
        "num_bad_rows": 0,
    }


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("a.jsonl", "{bad a@b.com", "line 2: not JSON: "),
        ("a.csv", '"a@b.com" x",a@b.com', "line 2: not readable as csv "),
    ],
)
def test_rows_that_cannot_be_read_are_masked_as_text(mask, name, bad, words):
    first = '{"t": "a@b.com", "u": "c@d.org"}' if name == "a.jsonl" else "t,u"
    done = mask(f"{first}\n{bad}\n", "--columns=t", name=name)
    assert done.code == 0 and done.lines[1] == bad.replace("a@b.com", "<email>")
    assert (
        f"1 row was not readable and masked as plain text, in every column; the first is {words}" in done.err
    )


def test_standard_input_and_a_plugin(tmp_path):
    (tmp_path / "plug.py").write_text(
        "import re\nfrom tflm.data.personal import personal_data\n\n"
        '@personal_data("学号", tag="<id>")\ndef numbers(text):\n'
        '    """学号：S 和八位数字。"""\n    return [each.span() for each in re.finditer("S[0-9]{8}", text)]\n',
        encoding="utf-8",
    )
    arguments = (f"--plugins={tmp_path}/plug.py", "--kinds=学号,email")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFLM_PLUGINS", "")
        done = call("mask", "--input=-", *arguments, stdin="我的学号S20240001，13812345678\n".encode())
        assert (done.out, done.err) == ("我的学号<id>，13812345678\n", "1 line; masked: 学号 1.\n")
        assert "学号：S 和八位数字。" in call("mask", "--list").out
    from tflm.data.personal import PATTERNS

    PATTERNS.remove("学号")


def test_it_needs_no_tensorflow():
    code = (
        "import sys; from apps import mask\n"
        "assert mask.run(['mask', '--list']) == 0\n"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras', 'numpy') for name in sys.modules))"
    )
    environment = {**os.environ, "TFLM_PLUGINS": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"identity_number" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("", 2, "--input is needed: a file of texts, or - for standard input."),
        ("--input={d}/none.txt", 1, "none.txt: No such file or directory."),
        ("--input={d}/a.txt --kinds=mail", 2, "--kinds names 'mail'; it must be all, or some of bank_card, "),
        ("--input={d}/a.txt --kinds=", 2, "--kinds is empty: name some kinds, or all."),
        (
            "--input={d}/a.txt --columns=a",
            2,
            "--columns are those of a table or of JSON lines; plain text has none.",
        ),
        ("--input={d}/a.txt --report=a.txt", 2, "--report=a.txt must end in .json."),
        ("--input={d}/a.csv --columns=b", 1, "no column 'b'; the columns are a, c"),
        ("--input={d}/a.jsonl --columns=b", 1, "a.jsonl has no column 'b'; it has a, c."),
        ("--input={d}/a.csv.gz", 1, "a.csv.gz"),
        ("--input={d}/wide.txt", 1, "looks like UTF-16-LE without a byte-order mark"),
        ("--input={d}/a.txt --plugins={d}/none.py", 1, "there is no plugin"),
    ],
)
def test_refused(tmp_path, arguments, code, words):
    (tmp_path / "a.txt").write_text("a\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("a,c\n1,2\n", encoding="utf-8")
    (tmp_path / "a.csv.gz").write_bytes(b"a,c\n1,2\n")
    (tmp_path / "a.jsonl").write_text('{"a": 1, "c": 2}\n', encoding="utf-8")
    (tmp_path / "wide.txt").write_bytes("call me\n".encode("utf-16-le"))
    check(call("mask", *arguments.format(d=tmp_path).split()), code, words)
