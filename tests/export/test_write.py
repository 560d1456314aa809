"""An export is whole or absent, has all that belongs beside the graph, and answers as the model did."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

import tflm.export.write
from tflm.errors import UserError
from tflm.export import ExportError, verify_checksums, write_export
from tflm.export.signatures import read_meta_graph
from tflm.export.warmup import WARMUP_FILE

TEXT = tf.TensorSpec([None], tf.string, "text")
REQUESTS = {"serving_default": [{"text": ["hello", "你好"]}]}


def echo():
    @tf.function(input_signature=[TEXT])
    def function(text):
        return {"text": text}

    return function


def export(function, output, **changes):
    settings = {"requests": REQUESTS, "card": {}, "files": {}, **changes}
    return write_export({"serving_default": function}, [], str(output), **settings)


def test_everything_stands_beside_the_graph(exports):
    assert exports.text.endswith("text/1")
    names = set(os.listdir(exports.text))
    assert {"saved_model.pb", "variables", "model_card.md", "config.json", "checksums.json"} <= names
    with open(os.path.join(exports.text, "config.json"), encoding="utf-8") as file:
        assert json.load(file) == {"language": "中文"}
    verify_checksums(exports.text)


def test_nothing_unfinished_is_left_beside_a_version(exports):
    assert os.listdir(os.path.dirname(exports.text)) == ["1"]


def test_a_function_of_time_is_caught_and_nothing_stays(tmp_path):
    @tf.function(input_signature=[TEXT])
    def stamped(text):
        return {"text": tf.strings.join([text, tf.strings.as_string(tf.timestamp())])}

    with pytest.raises(
        ExportError, match=r"'serving_default', request 0, output 'text': row 0 differs: expected 'hello1"
    ):
        export(stamped, tmp_path / "m")
    assert os.listdir(tmp_path / "m") == []


def test_outputs_that_another_model_gave_are_what_is_expected(tmp_path):
    @tf.function(input_signature=[TEXT])
    def lengths(text):
        return {"length": tf.strings.length(text)}

    given = {"requests": {"s": [{"text": ["ab"]}]}, "card": {}, "files": {}}
    expected = {"s": [{"length": np.array([3], np.int32)}]}
    with pytest.raises(ExportError, match="output 'length': row 0 differs: expected 3, got 2"):
        write_export({"s": lengths}, [], str(tmp_path / "m"), **given, expected=expected)


def test_state_that_moved_on_is_caught(tmp_path):
    """A counter: the export goes on from where the answers in memory had brought it."""
    counter = tf.Module()
    counter.calls = tf.Variable([0])

    @tf.function(input_signature=[TEXT])
    def counted(text):
        return {"calls": tf.zeros_like(text, tf.int32) + counter.calls.assign_add([1])}

    with pytest.raises(ExportError, match="output 'calls': row 0 differs: expected 1, got 2"):
        write_export(
            {"s": counted},
            [counter],
            str(tmp_path / "m"),
            requests={"s": [{"text": ["a"]}]},
            card={},
            files={},
        )
    assert os.listdir(tmp_path / "m") == []


def test_a_part_compiled_by_xla_beside_a_plain_one(tmp_path):
    """Checked in the fresh process as the others; shown on the card; no warm-up for a stock server to fail at."""
    twice = tf.function(lambda numbers: numbers * 2.0, jit_compile=True)

    def doubled(name, double):
        spec = tf.TensorSpec([None], tf.float32, "numbers")
        return tf.function(lambda numbers: {name: double(numbers)}, input_signature=[spec])

    requests = [{"numbers": [1.5]}, {"numbers": [3.0, -1.0]}]
    path = write_export(
        {"double": doubled("a", lambda numbers: numbers * 2.0), "double_xla": doubled("b", twice)},
        [],
        str(tmp_path / "m"),
        requests={"double": requests, "double_xla": requests},
        card={},
        files={},
    )
    loaded = tf.saved_model.load(path)
    answers = [loaded.signatures[name](tf.constant([3.0])) for name in ("double", "double_xla")]
    assert [answers[0]["a"].numpy(), answers[1]["b"].numpy()] == [[6.0], [6.0]]
    records = [record.numpy() for record in tf.data.TFRecordDataset(os.path.join(path, WARMUP_FILE))]
    assert len(records) == 2
    assert not [record for record in records if b"double_xla" in record]
    with open(os.path.join(path, "model_card.md"), encoding="utf-8") as file:
        card = file.read()
    assert "\n`double_xla`: TensorFlow Serving runs them only if started with" in card
    assert "`double` 2, `double_xla` 2" in card


def test_what_was_traced_is_saved_as_it_is(tmp_path, monkeypatch):
    """No function is traced twice, nor written twice where two share it."""
    traced = []

    @tf.function(input_signature=[TEXT])
    def shared(text):
        traced.append("shared")
        return {"text": tf.strings.upper(text)}

    @tf.function(input_signature=[TEXT])
    def both(text):
        traced.append("both")
        return {"text": shared(text)["text"]}

    monkeypatch.setattr(tflm.export.write, "verify_export", lambda *_: None)
    rows = [{"text": ["a", "你"]}, {"text": ["b"]}]
    path = write_export(
        {"shared": shared, "serving_default": both},
        [],
        str(tmp_path / "m"),
        requests={"shared": rows, "serving_default": rows},
        card={},
        files={},
    )
    assert sorted(traced) == ["both", "shared"]
    functions = read_meta_graph(path).graph_def.library.function
    assert sum(node.op == "StringUpper" for function in functions for node in function.node_def) == 1


def test_a_refused_op_leaves_nothing(tmp_path):
    @tf.function(input_signature=[TEXT])
    def through_python(text):
        return {"text": tf.ensure_shape(tf.numpy_function(lambda value: value, [text], tf.string), [None])}

    with pytest.raises(UserError, match=r"needs 'PyFunc'.*It calls Python"):
        export(through_python, tmp_path / "m")
    assert os.listdir(tmp_path / "m") == []


def test_no_version_is_visible_before_it_is_verified(tmp_path, monkeypatch):
    seen = []

    def look(path, requests, expected):
        seen.append((os.path.basename(path), sorted(os.listdir(tmp_path / "m"))))
        assert expected["serving_default"][0]["text"][1].decode() == "你好"

    monkeypatch.setattr(tflm.export.write, "verify_export", look)
    assert export(echo(), tmp_path / "m") == str(tmp_path / "m" / "1")
    assert export(echo(), tmp_path / "m") == str(tmp_path / "m" / "2")
    assert seen == [("1.tmp", ["1.lock", "1.tmp"]), ("2.tmp", ["1", "2.lock", "2.tmp"])]
    assert sorted(os.listdir(tmp_path / "m")) == ["1", "2"]


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tflm.export.write, "verify_export", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(echo(), tmp_path / "m")
    assert os.listdir(tmp_path / "m") == []


BAD_NAMES = [
    "saved_model.pb",
    "../x",
    "variables/x",
    "assets.extra",
    "assets.extra/../x",
    "assets.extra//x",
    "assets.extra/tf_serving_warmup_requests",
    "assets.extra/weights.json",
    "",
]


def test_a_file_may_not_replace_a_part_of_the_export(tmp_path):
    files = {name: "" for name in [*BAD_NAMES, "config.json", "assets.extra/more/a.json"]}
    with pytest.raises(UserError) as caught:
        export(echo(), tmp_path / "m", files=files)
    assert f"cannot write {BAD_NAMES} next to the graph: give plain file names that" in str(caught.value)
    assert str(caught.value).endswith("or names in assets.extra/.")
    assert not (tmp_path / "m").exists()


def test_files_of_bytes_and_below_assets_extra(tmp_path, monkeypatch):
    """They are under the checksums like the rest, and the graph loads as before."""
    monkeypatch.setattr(tflm.export.write, "verify_export", lambda *_: None)
    pieces = bytes(range(256)) + b"\r\n"
    files = {
        "assets.extra/tokenizer/pieces.model": pieces,
        "assets.extra/tokenizer/t.json": "{}",
        "说明.md": "你好\n",
    }
    path = export(echo(), tmp_path / "m", files=files)
    for name, content in files.items():
        with open(os.path.join(path, name), "rb") as file:
            assert file.read() == (content if isinstance(content, bytes) else content.encode())
    verify_checksums(path)
    with open(os.path.join(path, "assets.extra/tokenizer/pieces.model"), "ab") as file:
        file.write(b"!")
    with pytest.raises(UserError, match=r"assets.extra/tokenizer/pieces.model has changed"):
        verify_checksums(path)
    answer = tf.saved_model.load(path).signatures["serving_default"](text=tf.constant(["你好"]))
    assert answer["text"].numpy()[0].decode() == "你好"


def test_a_disk_without_space_leaves_earlier_versions_and_no_half(tmp_path, largest_file):
    export(echo(), tmp_path / "m")
    module = tf.Module()
    module.weights_of_it = tf.Variable(tf.zeros([50_000]))

    @tf.function(input_signature=[TEXT])
    def sized(text):
        return {"text": text, "zeros": tf.zeros_like(text, tf.float32) + module.weights_of_it[0]}

    words = r"cannot write the export .*m/2.tmp': File too large\. Earlier versions were kept\."
    with pytest.raises(UserError, match=words), largest_file(100_000):
        write_export(
            {"serving_default": sized}, [module], str(tmp_path / "m"), requests=REQUESTS, card={}, files={}
        )
    assert os.listdir(tmp_path / "m") == ["1"]
    verify_checksums(str(tmp_path / "m" / "1"))
