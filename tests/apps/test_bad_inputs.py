"""Bad texts, for every app that answers lines: one clear error line, the right exit code, and nothing lost. What is not
bad, such as an empty text or a megabyte, is answered.

`test_bad_usage` has wrong flags and models, `test_bad_runs` training and evaluation, `test_bad_servers` servers that go
away.
"""

import gzip
import json
import re
import types

import pytest

from tests.apps import small_models
from tests.apps.refusals import check
from tests.apps.small_models import APPS

LONG = {"english": "A word. " * 130_000, "chinese": "长" * 350_000, "dots": "." * 100_000}


class Bad(str):
    """In place of a line: what is said of it."""


# What a file holds -> its lines as they are read.
CONTENTS = {
    "nothing": (b"", []),
    "one empty line": (b"\n", [""]),
    "blank lines": ("\n \n\t\n\u3000\n", ["", " ", "\t", "\u3000"]),
    "no end of the last line": ("a\n你", ["a", "你"]),
    "mixed line ends": ("a\n你\r\nc\rd\r\r\n好", ["a", "你", "c", "d", "好"]),
    "a byte-order mark": ("\ufeffa\n你\n", ["a", "你"]),
    "a byte-order mark alone": ("\ufeff", [""]),
    "joined files with byte-order marks": ("\ufeffa\n\ufeff你\n", ["a", "你"]),
    "an invalid byte between": (
        b"a\n\xff\n\xe4\xbd\xa0\n",
        ["a", Bad("invalid start byte at byte 0."), "你"],
    ),
    "gb18030": (
        "你好\n".encode("gb18030") + b"ok\n",
        [Bad("not UTF-8: invalid continuation byte at byte 0."), "ok"],
    ),
    "latin-1": (b"caf\xe9\nok\n", [Bad("not UTF-8: unexpected end of data at byte 3."), "ok"]),
    "a character cut short": (
        b"ab\xe4\xbd\n\xe4\xbd\xa0\n",
        [Bad("unexpected end of data at byte 2."), "你"],
    ),
    "utf-16": ("a\r\n你好\r\n".encode("utf-16"), ["a", "你好"]),
    "a surrogate": (b"a\n\xed\xa0\x80\nb\n", ["a", Bad("invalid continuation byte at byte 0."), "b"]),
    "an overlong slash": (b"\xc0\xaf\nb\n", [Bad("invalid start byte at byte 0."), "b"]),
    "only bad lines": (b"\xff\n\xfe\n", [Bad("at byte 0."), Bad("at byte 0.")]),
    "NUL after the first bytes": (
        "a" * 4096 + "\n\0b\n你\n",
        [
            "a" * 4096,
            Bad("not text: it holds a NUL at character 1. Remove it, or save the file as UTF-8."),
            "你",
        ],
    ),
    "line ends of Unicode": ("a\u2028b\u2029c\x85d\x0be\x0cf\n好", ["a\u2028b\u2029c\x85d\x0be\x0cf", "好"]),
    "emoji": ("👩\u200d👩\u200d👧 🇨🇳\n😀", ["👩\u200d👩\u200d👧 🇨🇳", "😀"]),
    "combining characters": ("e\u0301\u0323\n\u0301\n", ["e\u0301\u0323", "\u0301"]),
    "full width": ("１２３，ＡＢＣ！\u3000“引号”\n", ["１２３，ＡＢＣ！\u3000“引号”"]),
    "mixed scripts": ("中文English混合 日本語\n\u202eمرحبا\n", ["中文English混合 日本語", "\u202eمرحبا"]),
    "what a terminal obeys": ("\x1b[31mred\x07\x08\n", ["\x1b[31mred\x07\x08"]),
    "no characters": ("\ufffe\uffff\U0010ffff\n", ["\ufffe\uffff\U0010ffff"]),
    "commands and flags": ("/quit\n--text=a\n# error\n", ["/quit", "--text=a", "# error"]),
    "a megabyte": (f"a\n{LONG['english']}\nb\n", ["a", LONG["english"], "b"]),
    "a megabyte of Chinese": (f"{LONG['chinese']}\r\nb", [LONG["chinese"], "b"]),
    "a long line of dots": (f"{LONG['dots']}\nb\n", [LONG["dots"], "b"]),
}
OBJECT = 'Expected {"text": "..."}.'
JSON_CONTENTS = {
    "nothing": (b"", []),
    "blank lines": ('\n{"text": ""}\r\n \n', [""]),
    "a byte-order mark": ('\ufeff{"text": "a"}\n\ufeff{"text": "b"}', ["a", "b"]),
    "not JSON": (
        '{"text": "a"\n{"text": "b"}',
        [Bad(f"not JSON: Expecting ',' delimiter at column 13. {OBJECT}"), "b"],
    ),
    "quotes of another kind": ("{'text': 'a'}\n{“text”: 1}", [Bad("not JSON: Expecting property")] * 2),
    "plain text": ('a\n{"text": "b"}', [Bad("not JSON: Expecting value at column 1."), "b"]),
    "no objects": ('[1]\n"a"\n5\nnull\n{"text": "b"}', [Bad("expected {")] * 4 + ["b"]),
    "another field": ('{"txt": "a"}\n{"text": "b"}', [Bad('got {"txt": "a"}'), "b"]),
    "no texts": ('{"text": null}\n{"text": ["a"]}\n{"text": true}\n{"text": {}}', [Bad("expected {")] * 4),
    "numbers": ('{"text": 1.50}\n{"text": -7}\n{"text": NaN}\n{"text": 1e999}', ["1.5", "-7", "nan", "inf"]),
    "a number of many digits": (
        f'{{"text": {"1" * 5000}}}\n{{"text": "b"}}',
        [Bad("thousands of digits"), "b"],
    ),
    "nested deep": ("[" * 100_000 + '\n{"text": "b"}', [Bad("nested too deep."), "b"]),
    "invalid UTF-8": (
        b'{"text": "\xff"}\n{"text": "b"}',
        [Bad("not UTF-8: invalid start byte at byte 10."), "b"],
    ),
    "line ends inside": ('{"text": "a\\nb\\r\\u2028c"}', ["a\nb\r\u2028c"]),
    "a lone surrogate": ('{"text": "\\ud800a\\udfff"}\n{"text": "b"}', ["\ud800a\udfff", "b"]),
    "NUL": ('{"text": "a\\u0000b"}', ["a\0b"]),
    "a field twice": ('{"text": "a", "text": "b"}', ["b"]),
    "two objects on a line": ('{"text": "a"} {"text": "b"}', [Bad("not JSON: Extra data at column 15.")]),
    "a megabyte": (json.dumps({"text": LONG["chinese"]}), [LONG["chinese"]]),
}
HEADER = "id\ttext\n"
TABLE_CONTENTS = {
    "a header alone": (HEADER, []),
    "mixed line ends": (f"\ufeff{HEADER}1\ta\r\n2\t你\r3\tb", ["a", "你", "b"]),
    "too few cells": (
        f"{HEADER}1\n2\tb\n\n",
        [Bad("expected 2 cells with tabs between; got 1: '1'."), "b"],
    ),
    "too many cells": (f"{HEADER}1\ta\tb\n2\tb\n", [Bad("expected 2 cells with tabs between; got 3: "), "b"]),
    "spaces for tabs": (f"{HEADER}1 a\n2\t好\n", [Bad("got 1: '1 a'."), "好"]),
    "invalid UTF-8": (
        HEADER.encode() + b"1\t\xff\n2\tb\n",
        [Bad("not UTF-8: invalid start byte at byte 2."), "b"],
    ),
    "empty cells": (f"{HEADER}\t\n1\t \n", ["", " "]),
    "quotes": (f'{HEADER}1\t"a\n2\tb"\n', ['"a', 'b"']),
}
CASES = [
    *((app, "txt", name) for app in APPS for name in CONTENTS),
    *((app, "jsonl", name) for app in ("classify", "generate", "tag") for name in JSON_CONTENTS),
    *((app, "tsv", name) for app in ("classify", "embed", "summarize") for name in TABLE_CONTENTS),
]


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """`models`, name to path; `folder`, whose name has a space and Chinese; `write(name, content)`: a path in it."""
    folder = tmp_path_factory.mktemp("bad") / "in put 输入"
    models = small_models.save_all(folder / "models")

    def write(name, content):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return types.SimpleNamespace(folder=str(folder), models=models, write=write)


@pytest.fixture(scope="session")
def alone(call, small):
    """alone(app, text): what an app prints for one text, given as a flag."""
    found = {}

    def ask(app, text):
        if (app, text) not in found:
            done = call(app, f"--model={small.models[APPS[app]]}", f"--text={text}")
            assert done.code == 0, done.err
            found[app, text] = done.out
        return found[app, text]

    return ask


@pytest.mark.parametrize(("app", "ending", "name"), CASES)
def test_lines_of_a_file(call, small, alone, app, ending, name):
    """Good lines are answered in order as alone, bad ones marked in their place, and the exit code tells of them."""
    content, lines = {"txt": CONTENTS, "jsonl": JSON_CONTENTS, "tsv": TABLE_CONTENTS}[ending][name]
    path = small.write(f"lines.{ending}", content)
    batch_size = 64 if any(len(line) > 10_000 for line in lines) else 2  # a long text is many parts
    done = call(app, f"--model={small.models[APPS[app]]}", f"--input={path}", f"--batch_size={batch_size}")
    problems = [line for line in lines if isinstance(line, Bad)]
    check(
        done, 1 if problems else 0, f" of {len(lines)} lines could not be read and are marked in the output; "
    )
    rest = done.out
    for line in lines:
        if isinstance(line, Bad):
            mark, _, rest = rest.partition("\n")
            assert re.match(rf"# error: {re.escape(path)}, line \d+: ", mark) and line in mark
        else:
            answer = alone(app, line)
            assert rest.startswith(answer), line[:80]
            rest = rest[len(answer) :]
    assert rest == ""
    if problems:
        assert f"error: {len(problems)} of " in done.err and problems[0] in done.err


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "hello\n".encode("utf-16-le"),
            "looks like UTF-16-LE without a byte-order mark; save the file as UTF-8",
        ),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "is not a text file: it holds NUL bytes; give a text file in UTF-8",
        ),
    ],
)
def test_a_file_that_is_no_text_is_refused_by_name(call, small, app, content, words):
    path = small.write("wide.txt", content)
    check(call(app, f"--model={small.models[APPS[app]]}", f"--input={path}"), 1, f"error: {path} {words}")


@pytest.mark.parametrize("app", APPS)
def test_a_table_is_read_by_its_ending(call, small, alone, app):
    """Its header is no text, and a cell of several lines is one."""
    content = 'id,text\r\n1,"a, ""b"""\r\n2,"你\r\n好"\r\n'.encode()
    for name, data in (("q.CSV", content), ("q.csv.gz", gzip.compress(content))):
        done = call(app, f"--model={small.models[APPS[app]]}", f"--input={small.write(name, data)}")
        check(done, 0)
        assert done.out == alone(app, 'a, "b"') + alone(app, "你\n好")
