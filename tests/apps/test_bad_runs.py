"""Bad data, folders and flags for the apps that train, measure, export, compare and serve: one clear error line, the
right exit code, and a run that is as it was."""

import hashlib
import json
import os
import shutil
import signal
import socket
import threading

import pytest

from tests.apps import small_models
from tests.apps.refusals import check
from tflm.training import training_lock

ROWS = "text\tlabel\n" + "".join(f"word {n} 好\t{'坏' if n % 2 else 'a'}\n" for n in range(30))
SMALL = [
    "training.num_steps=1",
    "training.global_batch_size=8",
    "tokenizer.kind=byte",
    "model.embedding_dim=8",
    "model.hidden_dim=8",
]
# What the folder {d} holds.
FILES = {
    "good.tsv": ROWS,
    "crlf.tsv": "\ufeff" + ROWS.replace("\n", "\r\n"),
    "mac.tsv": ROWS.replace("\n", "\r"),
    "gb.tsv": ROWS.encode("gb18030"),
    "utf16.tsv": ROWS.encode("utf-16"),
    "unmarked.tsv": ROWS.encode("utf-16-le"),
    "megabyte.jsonl": json.dumps({"text": "长" * 350_000, "label": "a"}) + "\n",
    "one.tsv": "text\tlabel\n好\ta\n",
    "header.tsv": "text\tlabel\n",
    "empty.tsv": b"",
    "blank.txt": "\n \n\n",
    "plain.txt": "some text\n",
    "columns.tsv": "text\tstars\na\tb\n",
    "unknown.tsv": "text\tlabel\n好\ta\n好\t中性\nfine\tneutral\n不\t中性\n",
    "no_label.tsv": "text\tlabel\na\t\nb\ta\n",
    "no_text.tsv": "text\tlabel\n \ta\n",
    "short.tsv": ROWS + "a\n",
    "binary.tsv": bytes(range(256)),
    "open_quote.csv": 'text,label\n"a,b\n',
    "broken.jsonl": "{\n",
    "lists.jsonl": '{"text": "a", "label": "a"}\n[1]\n',
    "what.bin": b"\0",
    "empty.jsonl": b"",
    "reports/list/report.json": "[]",
    "reports/broken/report.json": "{",
    "reports/texts/report.json": '{"texts": [1]}',
    "reports/empty/report.json": "{}",
    "runs/broken/config.json": "{",
    "runs/binary/config.json": b"\xff",
    "runs/empty/config.json": "{}",
    "runs/task/config.json": '{"task": {"kind": "poem"}}',
    "runs/name/config.json": '{"name": 3}',
    "runs/folder/config.json/a": "",
    "models.config": "model_config_list { what: 1 }",
}
# Command -> what stands behind it, the exit code, words of the error line.
REFUSED = {
    "train": [
        ("", 2, "--preset or --task is needed; --list_presets shows the recipes."),
        ("--preset=none", 2, "no preset 'none'. There are: "),
        ("--preset=tiny_lstm", 2, "--workdir is needed: the folder of the run"),
        ("--preset=tiny_lstm --task=pairs", 2, "both choose the recipe: give one of them."),
        ("--workdir={d}/new --data={d}/good.tsv", 2, "--task and --data belong together"),
        ("--task=诗", 2, "--task=诗: no such task. There are: chat, classification, "),
        ("--workdir={d}/new", 2, "--preset is needed to begin a run in "),
        ("--preset=tiny_lstm --workdir={d}/new --strategy=many", 2, "--strategy is one of auto,"),
        ("--task=language_modeling --workdir={d}/new --data={d}/blank.txt", 1, "the data set is empty"),
        ("--preset=tiny_lstm --workdir={d}/new --init_from={d}/none", 1, "{d}/none"),
        (
            "--preset=tiny_lstm --workdir={d}/new --word_vectors={d}/none",
            1,
            "word_vectors='{d}/none' is no file.",
        ),
    ],
    "train --task=classification": [
        ("", 2, "--task and --data belong together"),
        (
            "--data={d}/good.tsv --workdir={d}/good.tsv",
            1,
            "cannot make the folder '{d}/good.tsv': File exists.",
        ),
        ("--data={d}/good.tsv --workdir={d}/good.tsv/a", 1, "good.tsv/a': Not a directory."),
        ("--data={d}/good.tsv --workdir=/sys/run", 1, "cannot make the folder '/sys/run': "),
        ("--data={d}/good.tsv --workdir={d}", 1, "is not empty and holds no run. Give a folder of its own."),
    ],
    "train --task=classification --workdir={d}/new": [
        ("--data={d}/none.tsv", 1, "no file matches '{d}/none.tsv'; give an existing file"),
        ("--data={d}/empty.tsv", 1, "{d}/empty.tsv is empty; its first line should name the columns"),
        ("--data={d}/empty.jsonl", 1, "{d}/empty.jsonl is empty; its first line should name the columns"),
        ("--data={d}/header.tsv", 1, "the data set is empty: {d}/header.tsv has no row with text"),
        ("--data={d}/one.tsv", 1, "classification needs two labels at least; the data has ['a']."),
        ("--data={d}/columns.tsv", 2, "which column is the label? They are text, stars. Say it: "),
        ("--data={d}/binary.tsv", 1, "{d}/binary.tsv is not a text file: it holds NUL bytes"),
        (
            "--data={d}/unmarked.tsv",
            1,
            "looks like UTF-16-LE without a byte-order mark; set data.encoding=utf-16-le",
        ),
        ("--data={d}/gb.tsv", 1, "set data.encoding (Chinese text is often gb18030)"),
        ("--data={d}/broken.jsonl", 1, "JSON over several lines; write one object a line"),
        ("--data={d}/open_quote.csv", 1, "not readable as csv (unexpected end of data)"),
        ("--data={d}/what.bin", 2, "its name does not say what it is; "),
        ("--data={d}/reports", 2, "its name does not say what it is; "),
        ("--data={d}/plain.txt", 2, "is plain text, and --task=classification needs columns."),
        ("--data={d}/good.tsv --set=data.text_column=正文", 1, "no column '正文'; the columns are text,"),
        (
            "--data={d}/good.tsv --eval_data={d}/unknown.tsv --set=tokenizer.kind=byte",
            1,
            "{d}/unknown.tsv:3: the label '中性' is not among those of the training side: a, 坏. "
            "Found in all: '中性' (2), 'neutral' (1).",
        ),
        ("--data={d}/good.tsv --set=x", 1, "override 'x' has no '='. Write it as section.field=value."),
        ("--data={d}/good.tsv --set=a.b=1", 1, "ExperimentConfig has no field a. It has: name,"),
        ("--data={d}/good.tsv --set=training.num_step=1", 1, "Did you mean training.num_steps?"),
        ("--data={d}/good.tsv --set=training.num_steps=一", 1, "training.num_steps takes int; got '一'."),
        ("--data={d}/good.tsv --set=training.num_steps=-1", 1, "num_steps is at least 1; got -1."),
        ("--data={d}/good.tsv --set=training=5", 1, "training is a section with fields; got 5."),
        ("--data={d}/good.tsv --set=model.num_layers=0", 1, "num_layers is at least 1; got 0."),
        ("--data={d}/good.tsv --set=data.eval_fraction=2", 1, "eval_fraction is 2.0; it must be"),
        ("--data={d}/good.tsv --set=tokenizer.vocab_size=3", 1, "vocab_size is more than the number of"),
    ],
    "train --workdir={run}": [
        ("--preset=tiny_lstm", 1, "holds a run with another config: name was 'classification'"),
        ("--set=model.num_layers=3", 1, "model.num_layers was 1, is 3."),
        ("--set=x", 1, "override 'x' has no '='."),
    ],
    "evaluate": [
        ("", 2, "--workdir is needed: the folder of a run; or --model, an export."),
        ("--workdir={d}/none", 1, "holds no run: there is no config.json. `tflm train` makes one."),
        ("--workdir={d}/good.tsv", 1, "holds no run: there is no config.json."),
        ("--model={labels} --output={d}/report", 1, "has no config.json that says what it was trained for"),
        ("--model={d}/reports --output={d}/report", 1, "has neither saved_model.pb nor a version folder"),
        ("--model={labels}", 2, "--output is required with --model: the folder for the report."),
    ],
    "evaluate --workdir={run}": [
        ("--data={d}/good.tsv", 2, "--output is required with --data"),
        ("--step=77", 1, "no checkpoint of step 77 in '{run}/checkpoints'; available steps: 1."),
        ("--split=test", 1, "has no test side: data.test_fraction is 0. Give --data=FILE."),
        ("--limit=-1", 2, "flag --limit=-1: -1 is not a non-negative integer"),
        (
            "--data={d}/good.tsv --output={d}/one.tsv --nobaseline",
            1,
            "cannot write the report into '{d}/one.tsv': File exists.",
        ),
    ],
    "evaluate --workdir={run} --output={d}/report --nobaseline": [
        ("--data={d}/none.tsv", 1, "no file matches '{d}/none.tsv'; give an existing file"),
        ("--data={d}/empty.tsv", 1, "the data set is empty: {d}/empty.tsv has no row with text"),
        ("--data={d}/header.tsv", 1, "the data set is empty: {d}/header.tsv has no row with text"),
        ("--data={d}/columns.tsv", 1, "columns.tsv:1: no column 'label'; the columns are text, stars"),
        (
            "--data={d}/unknown.tsv",
            1,
            "{d}/unknown.tsv:3: the label '中性' is not among those of the training side: a, 坏. "
            "Found in all: '中性' (2), 'neutral' (1). Correct these rows, or add",
        ),
        (
            "--data={d}/no_label.tsv",
            1,
            "1 of 2 rows are bad (1 no label); first {d}/no_label.tsv:2: no label.",
        ),
        ("--data={d}/no_text.tsv", 1, "1 of 1 rows are bad (1 no text); first {d}/no_text.tsv:2: no text."),
        (
            "--data={d}/short.tsv",
            1,
            "1 of 31 rows are bad (1 not 2 columns); first {d}/short.tsv:32: not 2 columns.",
        ),
        ("--data={d}/binary.tsv", 1, "{d}/binary.tsv is not a text file: it holds NUL bytes"),
        ("--data={d}/gb.tsv", 1, "set data.encoding (Chinese text is often gb18030)"),
        (
            "--data={d}/unmarked.tsv",
            1,
            "looks like UTF-16-LE without a byte-order mark; set data.encoding=utf-16-le",
        ),
        ("--data={d}/lists.jsonl", 1, "first {d}/lists.jsonl:2: a JSON array; write one object a line"),
        ("--data={d}/what.bin", 2, "its name does not say what it is;"),
        ("--data={d}/good.tsv --set=model.num_layers=2", 2, "only how the data is read can be set here"),
        ("--data={d}/good.tsv --set=data.textcolumn=a", 1, "Did you mean data.text_column?"),
        ("--data={d}/good.tsv --against={d}/none", 1, "Measure that one first, by the same command."),
        (
            "--data={d}/good.tsv --against={d}/reports/list",
            1,
            "is no report: an object with a list of texts was expected.",
        ),
        (
            "--data={d}/good.tsv --against={d}/reports/texts",
            1,
            "is no report: an object with a list of texts was expected.",
        ),
        ("--data={d}/good.tsv --against={d}/reports/broken", 1, "is no report: Expecting property name"),
        (
            "--data={d}/good.tsv --against={d}/reports/empty",
            1,
            "runs are compared by the texts of their reports",
        ),
    ],
    "export": [
        ("", 2, "--workdir is needed."),
        ("--workdir={d}/none --output={d}/e", 1, "holds no run: there is no config.json."),
    ],
    "export --workdir={run}": [
        ("", 2, "--output is needed."),
        ("--output={d}/good.tsv", 1, "cannot make the folder '{d}/good.tsv' for the export: File exists."),
        ("--output=/sys/model", 1, "cannot make the folder '/sys/model' for the export: "),
        (
            "--output={d}/m --weights=int2",
            2,
            "flag --weights=int2: value should be one of <float32|bfloat16|int8|int4>",
        ),
        (
            "--output={d}/m --weights=int8 --format=huggingface",
            2,
            "--format=huggingface has weights in float32 or bfloat16; got --weights=int8.",
        ),
        ("--output={labels}/1", 1, "exists. Versions are never overwritten"),
        ("--output={d}/e --step=77", 1, "no checkpoint of step 77"),
        ("--output={d}/e --word_vectors=v.txt", 1, "--word_vectors is for the task word_vectors;"),
    ],
    "compare": [
        ("", 2, "the folders of the runs are needed: tflm compare RUN RUN ..."),
    ],
    "compare {run}": [
        ("{d}/none", 1, "holds no run: there is no config.json."),
        ("--ngram=3", 1, "--ngram is for language models: "),
        ("--ngram=-1", 2, "flag --ngram=-1: -1 is not a non-negative integer"),
        ("--x=years", 2, "value should be one of <step|tokens|seconds>"),
        ("--quick --output={d}/good.tsv", 1, "cannot write into --output={d}/good.tsv: File exists."),
    ],
    "serve": [
        ("", 2, "give either --model_base_path, for one model, or --model_config_file, for several."),
        ("--model_base_path={d}/none", 1, "no version to serve in '{d}/none'. Expected folders with numbers"),
        ("--model_base_path={d}/good.tsv", 1, "no version to serve in '{d}/good.tsv'."),
        ("--model_base_path={labels}/1", 1, "is one version of a model. Give the folder above, {labels}."),
        ("--model_config_file={d}", 1, "cannot be read: [Errno 21] Is a directory"),
        ("--model_config_file={d}/binary.tsv", 1, "binary.tsv is not a text file: it holds NUL bytes"),
        ("--model_config_file={d}/models.config", 1, 'has no field named "what"'),
        ("--model_config_file={d}/empty.tsv", 1, "has no models."),
    ],
    "serve --model_base_path={labels}": [
        ("--rest_api_port=99999", 2, "99999 is not an integer in the range [0, 65535]"),
        (
            "--rest_api_port={port} --port=0",
            1,
            "cannot listen on 127.0.0.1, --rest_api_port={port}: the port is in use",
        ),
        (
            "--port={port} --rest_api_port=0",
            1,
            "cannot listen on 127.0.0.1, --port={port}: the port is in use",
        ),
    ],
    "completion": [
        ("", 2, "which shell? One of bash, zsh, fish"),
        ("tcsh", 2, "flag --shell=tcsh: value should be one of <bash|zsh|fish>"),
    ],
}
CASES = [(command, *row) for command, rows in REFUSED.items() for row in rows]
BROKEN = {
    "broken": "is not JSON: ",
    "binary": "is not UTF-8: ",
    "empty": "missing 2 required positional arguments",
}
BROKEN |= {"task": "task.kind is one of ", "name": "name takes str; got 3.", "folder": "Is a directory."}


@pytest.fixture(scope="module")
def places(call, tmp_path_factory):
    """What arguments may name: the folder {d}, whose name has a space and Chinese; the {run}; a model; a taken port."""
    folder = tmp_path_factory.mktemp("runs") / "我的 runs"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    run = f"{folder}/运行 1"
    settings = [f"--set={setting}" for setting in SMALL]
    done = call("train", "--task=classification", f"--data={folder}/good.tsv", f"--workdir={run}", *settings)
    assert done.code == 0, done.err
    labels = small_models.save(folder / "models" / "labels", "classification", "classify")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield {"d": str(folder), "run": run, "labels": labels, "port": taken.getsockname()[1]}


def state(folder):
    """Path to digest of every file in a folder."""
    paths = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    return {path: hashlib.sha256(open(path, "rb").read()).hexdigest() for path in paths}


@pytest.mark.parametrize(("command", "arguments", "code", "words"), CASES)
def test_refused_and_the_run_is_as_it_was(call, places, monkeypatch, command, arguments, code, words):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    before = state(places["run"])
    app, *given = (argument.format(**places) for argument in f"{command} {arguments}".split())
    done = call(app, *given)
    check(done, code, words.format(**places))
    assert state(places["run"]) == before
    shutil.rmtree(f"{places['d']}/new", ignore_errors=True)


@pytest.mark.parametrize("app", ["train", "evaluate", "export", "compare"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_run_with_a_broken_config(call, places, app, name):
    folder = f"{places['d']}/runs/{name}"
    arguments = {"compare": [folder], "export": [f"--workdir={folder}", f"--output={places['d']}/e"]}
    check(call(app, *arguments.get(app, [f"--workdir={folder}"])), 1, BROKEN[name])
    assert not os.path.exists(f"{places['d']}/e")


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("good.tsv", [], 30),
        ("crlf.tsv", [], 30),
        ("mac.tsv", [], 30),
        ("gb.tsv", ["--set=data.encoding=gb18030"], 30),
        ("utf16.tsv", ["--set=data.encoding=utf-16"], 30),
        ("utf16.tsv", [], 30),
        ("unmarked.tsv", ["--set=data.encoding=utf-16-le"], 30),
        ("megabyte.jsonl", [], 1),
        ("one.tsv", [], 1),
    ],
)
def test_measured_after_all(call, places, name, settings, count):
    """One row, a megabyte in a cell, all line ends, a byte-order mark and encodings that are named."""
    given = [f"--workdir={places['run']}", f"--output={places['d']}/report", "--nobaseline", *settings]
    done = call("evaluate", f"--data={places['d']}/{name}", *given)
    assert done.code == 0 and "error" not in done.err, done.err
    assert f"{count} examples; 95% intervals in brackets" in done.lines


@pytest.mark.parametrize("content", ["{", "[]", '{"texts": 5}'])
def test_a_run_with_a_broken_report(call, places, tmp_path, content):
    shutil.copytree(places["run"], tmp_path / "run")
    (tmp_path / "run" / "report.json").write_text(content, encoding="utf-8")
    done = call("compare", f"{tmp_path}/run")
    check(done, 1, "report.json' is no report: ")


def test_a_run_without_checkpoints(call, places, tmp_path):
    shutil.copytree(places["run"], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    for app, more in (("evaluate", []), ("export", [f"--output={tmp_path}/e"])):
        check(
            call(app, f"--workdir={tmp_path}/run", *more), 1, "has no checkpoint yet. `tflm train --workdir="
        )
    (tmp_path / "run" / "log.jsonl").unlink()
    check(call("compare", f"{tmp_path}/run"), 1, "has no steps yet. `tflm train --workdir=")


@pytest.fixture
def copied(places, tmp_path):
    """A copy of the run."""
    shutil.copytree(places["run"], tmp_path / "拷贝")
    return tmp_path / "拷贝"


def test_text_that_is_gone_is_found_before_anything_is_measured(call, places, copied):
    """Its tokens are still in the run's folder, so that the loss could be had."""
    data = f"{places['d']}/good.tsv"
    os.rename(data, f"{data}.gone")
    try:
        done = call("evaluate", f"--workdir={copied}")
    finally:
        os.rename(f"{data}.gone", data)
    words = f"no file matches '{data}'; give an existing file"
    assert "put the data there again, or name another by --data=FILE" in check(done, 1, words)
    assert done.out == "" and not (copied / "report.json").exists()


def test_a_report_that_cannot_be_written_is_found_before_the_work(call, places, tmp_path):
    run, taken = f"--workdir={places['run']}", f"--output={places['d']}/one.tsv"
    for app, given in (("evaluate", [run, "--nobaseline"]), ("compare", [places["run"], "--quick"])):
        done = call(app, *given, taken)
        check(done, 1, "one.tsv")
        assert done.out == "", "no measure of work that is lost"
    done = call("evaluate", run, f"--output={tmp_path}/report", f"--against={tmp_path}/none")
    check(done, 1, "Measure that one first")
    assert done.out == ""


def test_a_damaged_checkpoint_is_found_before_all_steps_are_done(call, copied):
    (state,) = copied.glob("checkpoints/step_*/state.data*")
    state.write_bytes(state.read_bytes()[:100])
    done = call("train", f"--workdir={copied}")
    check(done, 1, "every checkpoint in")
    assert "steps are done" not in done.err


def test_a_run_that_is_being_trained(call, copied):
    """Another training is refused; it may be measured and exported all the same."""
    answers = []
    with training_lock(str(copied)):
        thread = threading.Thread(target=lambda: answers.append(call("train", f"--workdir={copied}")))
        thread.start()
        thread.join()
        measured = call("evaluate", f"--workdir={copied}", "--nobaseline")
        exported = call("export", f"--workdir={copied}", f"--output={copied}/e", "--nodeploy")
    words = f"'{copied}' is being trained by process {os.getpid()} on host"
    assert "Wait for that process, stop it, or give another --workdir." in check(answers[0], 1, words)
    assert measured.code == 0 and exported.code == 0, exported.err
    assert call("train", f"--workdir={copied}").code == 0


def test_a_disk_without_space_at_a_checkpoint(call, places, copied, largest_file):
    (state,) = copied.glob("checkpoints/step_*/state.data*")
    size, given = state.stat().st_size, [f"--workdir={copied}", "--overwrite"]
    with largest_file(size - 1):
        done = call("train", *given)
    words = "step_00000001': File too large. There is no earlier checkpoint. "
    check(done, 1, words)
    assert list(copied.glob("checkpoints/*")) == [], "no .tmp"
    assert call("train", f"--workdir={copied}").code == 0
    assert [path.name for path in copied.glob("checkpoints/*")] == ["step_00000001"]
