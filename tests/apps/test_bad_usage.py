"""Wrong flags, files, columns, models and commands, for every app that answers lines: one clear error line, the right
exit code, and nothing changed."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.apps import small_models
from tests.apps.refusals import check

# The folder {d} holds these, beside the models.
FILES = {
    "a.txt": "a\n",
    "bad.txt": b"a\n\xff\n",
    "empty.tsv": b"",
    "review.tsv": "id\treview\n1\tgood\n",
    "gb.tsv": "编号\t文本\n1\t好\n".encode("gb18030"),
    "mac.tsv": "id\treview\r1\tgood\r",
    "utf16.tsv": "id\ttext\n1\tgood\n".encode("utf-16-le"),
    "escapes.tsv": "a\x1b[2J\tb\n",
    "pairs.txt": "a\tb\nonly one\na\tb\tc\n",
    "scores.tsv": "text\ttext_pair\ts\na\tb\t1\nc\td\tgood\ne\tf\t２\ng\th\tnan\n",
    "one_score.tsv": "text\ttext_pair\ts\na\tb\t1\n",
    "no_folder": b"",
    "latin.txt": b"caf\xe9",
    "marked.txt": "你好".encode("utf-16"),
}
# Command -> what stands behind it, the exit code, words of the error line.
REFUSED = {
    "classify --model={labels}": [
        ("--input={d}/none.txt", 1, "none.txt: No such file or directory."),
        ("--input={d}/none\x1b[2J", 1, "none\\x1b[2J: No such file"),
        ("--input={d}/empty.tsv", 1, "is empty; its first line should name the columns."),
        (
            "--input={d}/review.tsv",
            1,
            "no column 'text'; the columns are id, review. Say which is the text with --text_column=NAME",
        ),
        ("--input={d}/review.tsv --text_column=2", 1, "no column '2'; the columns are 0, 1."),
        ("--input={d}/review.tsv --text_column=-1", 1, "no column '-1'; the columns are id, review. Say"),
        ("--text=a --text_pair=b", 2, "--text_pair is for a model of pairs;"),
        ("--batch_size=0", 2, "flag --batch_size=0: 0 is not a positive integer"),
        ("--batch_size=多", 2, "flag --batch_size=多: invalid literal"),
        ("--limit=-1", 2, "flag --limit=-1: -1 is not a non-negative integer"),
        ("--top=0", 2, "flag --top=0: 0 is not a positive integer"),
    ],
    "tag --model={spans}": [
        ("--input={d}", 1, "cannot read --input={d}: Is a directory."),
        ("--input={d}/gb.tsv --text_column=文本", 1, "line 1, which should name the columns, is not UTF-8: "),
        (
            "--input={d}/utf16.tsv",
            1,
            "looks like UTF-16-LE without a byte-order mark; save the file as UTF-8",
        ),
        ("--format=xml", 2, "value should be one of <text|csv|tsv|json>"),
        ("--segmented", 2, "Unknown command line flag 'segmented'. Did you mean: segment"),
        ("一篇文章.txt", 2, "unexpected argument '一篇文章.txt'. Flags are written --name=value."),
        ("--text", 2, "Missing value for flag --text"),
    ],
    "translate --model={pairs}": [
        ("--input={d}/a.txt/b.txt", 1, "b.txt: Not a directory."),
        ("--temperature=hot", 2, "flag --temperature=hot"),
        ("--temperature=-1", 2, "temperature is -1.0, expected 0 (greedy) or a positive number."),
        ("--temperature=nan", 2, "--temperature=nan is not a number: give one."),
    ],
    "embed --model={vectors}": [
        (
            "--input=/" + "a" * 300,
            1,
            "File name too long.",
        ),
        ("--input={d}/review.tsv --text_column=文本", 1, "no column '文本'; the columns are id, review"),
        ("--input={d}/review.tsv --retrieval --text_column=id", 1, "no column 'text_pair'"),
        ("--output=a.txt", 2, "--output=a.txt must end in .npy"),
        ("--input={d}/a.txt --output={d}/no_folder/a.npy", 1, "a.npy: Not a directory."),
        (
            "--input={d}/bad.txt --output={d}/v.npy",
            1,
            "1 of 2 lines could not be read and are left out; the first is {d}/bad.txt, line 2: not UTF-8",
        ),
        ("--input={d}/none.txt --output={d}/w.npy", 1, "cannot read --input="),
        ("--input={d}/a.txt --output=/sys/v.npy", 1, "cannot write --output=/sys/v.npy: "),
        ("--query=a --duplicates=0.5", 2, "--query and --duplicates are two different things to do"),
        ("--query=a --input={d}/no_folder", 1, "there is nothing to read: the input is empty."),
        ("--query=a --input={d}/bad.txt", 1, "1 of 2 lines could not be read and are left out"),
        ("--duplicates=2", 2, "2.0 is not a number in the range [0.0, 1.0]"),
        ("--duplicates=nan", 2, "--duplicates=nan is not a number: give one."),
        ("--keywords=0", 2, "flag --keywords=0: 0 is not a positive integer"),
        (
            "--input={d}/scores.tsv --scores_column=s",
            1,
            "2 of 4 lines could not be read and are left out; the first is {d}/scores.tsv, line 3: expected a number "
            "as its score; got 'good'.",
        ),
        ("--input={d}/one_score.tsv --scores_column=s", 1, "at least two distinct scores; got 1 pairs"),
        ("--text=a --retrieval", 2, "--text is one text; what is measured are the pairs of a table"),
    ],
    "summarize --model={pairs}": [
        ("--input=\udcff", 1, "cannot read --input=\\udcff: No such file"),
        ("--parts=on", 2, "value should be one of <auto|off>"),
    ],
    "generate --model={writer}": [
        ("--input={d}/escapes.tsv", 1, "no column 'text'; the columns are "),
        ("--text=a --temperature=inf", 2, "temperature is inf, expected 0"),
        ("--text=a --seed=99999999999999999999", 2, "expected a whole number of 64 bits."),
        ("--text=a --seed=1.5", 2, "flag --seed=1.5: invalid literal"),
        ("--text=a --seed=9223372036854775807 --num_samples=2", 1, "input 'seed' takes int64"),
        ("--text=a --top_k=-1", 2, "top_k is -1, expected 0 (off) or a positive whole number."),
        ("--text=a --top_p=2", 2, "top_p is 2.0, expected a number from 0 to 1"),
        ("--text=a --max_new_tokens=-3", 2, "max_new_tokens is -3, expected"),
        ("--text=a --max_new_tokens=3000000000", 2, "max_new_tokens is 3000000000, expected"),
        ("--text=a --length=5 --max_new_tokens=0", 2, "give 1 or more of those."),
        ("--append", 2, "--append writes to --file: name the file."),
        ("--file={d}/a.txt --text=a", 2, "both say what to continue. Give one of them."),
        ("--file={d}/a.txt --append --num_samples=2", 2, "leave --num_samples at 1."),
        ("--file={d}/none", 1, "cannot read --file={d}/none: No such file"),
        ("--file={d}", 1, "cannot read --file={d}: Is a directory."),
        ("--file={d}/latin.txt --append", 1, "is not UTF-8: unexpected end of data at byte 3; save the file"),
        (
            "--file={d}/utf16.tsv",
            1,
            "utf16.tsv looks like UTF-16-LE without a byte-order mark; save the file",
        ),
        (
            "--file={d}/marked.txt --append",
            1,
            "--append writes UTF-8, and --file={d}/marked.txt is UTF-16; save",
        ),
    ],
    "answer --model={reader}": [
        ("--input={d}/review.tsv --question_column=id", 1, "Say which is the context with --context_column"),
        ("--input={d}/pairs.txt", 1, "expected question and context with a tab between;"),
        ("--question=谁？", 2, "--context is required with --question."),
        ("--context=王小明", 2, "--question is required with --context."),
        ("--question=a --context=b --num_answers=9", 2, "--num_answers=9: this model gives 1 at most."),
        ("--documents={d} --context=a", 2, "the text comes from one of them."),
        ("--documents={d} --question=a", 2, "--documents needs --embedder"),
        (
            "--documents={d}/none --embedder={vectors} --question=a",
            1,
            "none' is not there. Give files, folders or globs",
        ),
        ("--documents={d}/a.txt --embedder={labels} --question=a", 1, "has no signature 'embed'"),
        ("--documents={d}/a.txt --embedder={vectors} --question=a", 1, "has no checksums.json"),
        ("--threshold=nan", 2, "--threshold=nan is not a number: give one."),
    ],
    "classify --model={labels_of_pairs}": [
        ("--input={d}/review.tsv --text_column=review", 1, "with --text_pair_column=NAME"),
        ("--text=a", 2, "--text_pair is required with --text."),
        (
            "--input={d}/pairs.txt",
            1,
            "2 of 3 lines could not be read and are marked in the output; the first is {d}/pairs.txt, line 2: "
            "expected text and text_pair with a tab between; got 1 parts: 'only one'.",
        ),
    ],
    "classify": [
        ("--text=a", 2, "--model is needed: a folder such as --model=saved_models/NAME."),
        ("--model=http:// --text=a", 2, "names no served model. Expected http://host:port/v1/models/NAME"),
        ("--model=http://localhost:99999/v1/models/m --text=a", 2, "names no served model."),
        ("--model=file:///{d} --text=a", 2, "names no served model."),
        ("--model=grpc://localhost --text=a", 2, "names no served model. Expected grpc://host:port/NAME"),
    ],
    "generate --model={pairs}": [
        ("--text=a --length=5", 2, "--length is for a model that continues texts;"),
    ],
    "classify --model={d}/none": [
        ("--text=a", 1, "no folder '{d}/none'. A model is saved_models/NAME"),
    ],
    "classify --model={d}/a.txt": [
        ("--text=a", 1, "no folder '{d}/a.txt'. A model is saved_models/NAME"),
    ],
    "classify --model={d}": [
        ("--text=a", 1, "has neither saved_model.pb nor a version folder such as 1/. Found there:"),
    ],
    "classify --model={labels}/1.tmp": [
        ("--text=a", 1, "is an unfinished export. Give "),
    ],
}
ROWS = [(command, *row) for command, rows in REFUSED.items() for row in rows]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder {d}, whose name has a space and Chinese, with FILES; and the models by their names."""
    folder = tmp_path_factory.mktemp("bad") / "in put 输入"
    models = small_models.save_all(folder / "models")
    for name, content in FILES.items():
        (folder / name).write_bytes(as_bytes(content))
    return {**models, "d": str(folder)}


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode()


@pytest.mark.parametrize(("command", "arguments", "code", "words"), ROWS)
def test_refused(call, files, command, arguments, code, words):
    app, *given = (argument.format(**files) for argument in f"{command} {arguments}".split())
    done = call(app, *given)
    check(done, code, words.format(**files))
    assert code == 1 or done.out == "", "nothing was done"


def test_what_was_refused_left_no_file(files, call):
    """Of a command that failed there is all or nothing; and what was there before is as it was."""
    found = set(os.listdir(files["d"]))
    assert "w.npy" not in found and not any(name.endswith(".tmp") for name in found)
    for name, content in FILES.items():
        with open(f"{files['d']}/{name}", "rb") as file:
            assert file.read() == as_bytes(content)


SIGNATURES = {
    "generate": "writer pairs talker",
    "summarize": "writer pairs talker",
    "translate": "writer pairs talker",
    "chat": "writer pairs talker",
    "classify": "labels labels_of_pairs",
    "tag": "spans",
    "embed": "vectors",
    "answer": "reader",
}
MODELS = ("writer", "talker", "labels", "spans", "vectors", "reader", "plain")
WRONG = [(app, model) for app, right in SIGNATURES.items() for model in MODELS if model not in right.split()]


@pytest.mark.parametrize(("app", "model"), WRONG)
def test_a_model_for_another_app(call, files, app, model):
    done = call(app, f"--model={files[model]}")
    check(done, 1, f"/{model}' has no signature ")
    right = {"writer": "tflm generate", "talker": "tflm chat or tflm generate", "labels": "tflm classify"}
    right |= {"spans": "tflm tag", "vectors": "tflm embed", "reader": "tflm answer"}
    assert done.err.endswith(f" Try {right[model]}.\n" if model in right else "it has serving_default.\n")


@pytest.mark.parametrize("app", SIGNATURES)
def test_a_signature_of_that_name_that_gives_something_else(call, files, app):
    fields = ["--question=a", "--context=b"] if app == "answer" else ["--text=a"]
    done = call(app, f"--model={files['foreign']}", *fields)
    check(done, 1, "; this app needs ")
    assert done.err.endswith(" too. Give an export of tflm export.\n")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("saved_model.pb", b"no protobuf", "saved_model.pb' is damaged: "),
        ("saved_model.pb", None, "is not a SavedModel: cannot read saved_model.pb (No such file"),
        ("saved_model.pb", b"", "saved_model.pb' is damaged: "),
        ("variables", None, "is damaged: "),
        ("config.json", b"{", "is damaged: Expecting property name"),
        ("config.json", b"\xff", "is damaged: 'utf-8' codec can't decode"),
        ("config.json", b"[]", "config.json is not as tflm writes it: "),
        ("config.json", b'{"task": 3}', "config.json is not as tflm writes it: "),
        ("config.json", b'{"decoding": ["a"]}', "config.json is not as tflm writes it: "),
        ("model_card.md", b"\xff", "is damaged: 'utf-8' codec can't decode"),
    ],
)
def test_a_damaged_model(call, files, tmp_path, name, content, words):
    shutil.copytree(files["writer"], tmp_path / "模型")
    path = tmp_path / "模型" / "1" / name
    if content is not None:
        path.write_bytes(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    check(call("generate", f"--model={tmp_path}/模型", "--text=a"), 1, words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file; run the tests as another user")
@pytest.mark.parametrize("app", ["classify", "tag", "embed"])
def test_a_file_that_may_not_be_read(call, files, tmp_path, app):
    (tmp_path / "a.txt").write_text("a\n", encoding="utf-8")
    (tmp_path / "a.txt").chmod(0)
    done = call(app, f"--model={files[small_models.APPS[app]]}", f"--input={tmp_path}/a.txt")
    check(done, 1, "a.txt: Permission denied.")


# An app without a model, so that it starts at once.
ECHO = """
import sys
from absl import flags
from apps.common import command_line, items
values = flags.FlagValues()
items.define_items(values, {"text": "A text."})
def main(values):
    items.answer_items(values, ("text",), lambda found: ([item] for item in found), lambda item: item["text"])
sys.exit(command_line.run_app(main, values, "", sys.argv))
"""
SHELL = {  # what stands behind it in a shell -> exit code, output, error
    "<&-": (1, "", "error: standard input is closed, and there is no --text and no --input: give one.\n"),
    "--text=a >/dev/full": (
        1,
        "",
        "error: cannot write: No space left on device. Earlier output was kept. Free disk space and run the same "
        "command again.\n",
    ),
    "--text=a >&-": (0, "", ""),
    "--text=a 2>&-": (0, "a\n", ""),
    "--nothing 2>&-": (2, "", ""),
    "--text=$'\\xff'": (0, "?\n", ""),
    "</dev/null": (0, "", ""),
}


@pytest.mark.parametrize("line", SHELL)
def test_in_a_shell(tmp_path, checkout, line):
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -X utf8 {tmp_path}/echo.py {line}"],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": checkout},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == SHELL[line]
