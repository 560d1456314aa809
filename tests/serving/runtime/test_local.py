"""A folder answers; what is wrong with a request or a folder is said in words."""

import ast
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from tflm.errors import UserError
from tflm.serving import LocalModel

TEXT = tf.TensorSpec([None], tf.string, "text")
SETTINGS = [
    TEXT,
    tf.TensorSpec([None], tf.int32, "seed"),
    tf.TensorSpec([None], tf.float32, "temperature"),
    tf.TensorSpec([None], tf.bool, "greedy"),
]


def save(path, *, with_text_ops):
    """A SavedModel whose `generate` shows what arrived."""
    lower = tf_text.case_fold_utf8 if with_text_ops else tf.strings.lower

    @tf.function(input_signature=[TEXT])
    def answer(text):
        return {"text": lower(text)}

    @tf.function(input_signature=SETTINGS)
    def generate(text, seed, temperature, greedy):
        settings = [tf.strings.as_string(value) for value in (seed, temperature, greedy)]
        return {"text": tf.strings.join([text, *settings], "|"), "pair": tf.stack([seed, -seed], 1)}

    signatures = {"serving_default": answer, "generate": generate}
    tf.saved_model.save(tf.Module(), str(path), signatures=signatures)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """NAME with versions 9 and 10, an unfinished 11 and a foreign folder."""
    folder = tmp_path_factory.mktemp("saved_models") / "聊天"
    save(folder / "9", with_text_ops=False)
    save(folder / "10", with_text_ops=True)
    (folder / "10" / "config.json").write_text('{"language": "中文"}', encoding="utf-8")
    (folder / "10" / "model_card.md").write_text("# 聊天\n", encoding="utf-8")
    shutil.copytree(folder / "9", folder / "11.tmp")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return LocalModel(str(folder))


def test_the_highest_finished_version_is_loaded(folder, model):
    assert model.path == str(folder / "10")
    assert LocalModel(f"{folder}/9/").path == str(folder / "9")


def test_what_stands_beside_the_graph(folder, model):
    assert model.config == {"language": "中文"}
    assert model.card == "# 聊天\n"
    plain = LocalModel(str(folder / "9"))
    assert (plain.config, plain.card) == ({}, "")


def test_signatures(model):
    assert sorted(model.signatures) == ["generate", "serving_default"]
    assert model.signatures["generate"].inputs == {
        "greedy": "bool",
        "seed": "int32",
        "temperature": "float32",
        "text": "string",
    }
    assert model.signatures["generate"].outputs == {"pair": "int32", "text": "string"}


@pytest.mark.parametrize(
    "texts",
    [["ＡB", "你好"], [b"\xef\xbc\xa1B", "你好".encode()], np.array(["ＡB", "你好"]), ("ＡB", "你好")],
)
def test_strings_in_bytes_out(model, texts):
    answer = model.predict("serving_default", {"text": texts})
    assert answer["text"].tolist() == [b"ab", "你好".encode()]


def test_a_lone_surrogate_does_not_raise(model):
    assert model.predict("serving_default", {"text": ["a\ud800"]})["text"].shape == (1,)


def test_numbers_are_fitted_to_the_signature(model):
    inputs = {
        "text": ["a", "你"],
        "seed": np.array([1, -2]),
        "temperature": [1, 0.5],
        "greedy": [True, False],
    }
    answer = model.predict("generate", inputs)
    assert answer["text"].tolist() == [b"a|1|1.000000|true", "你|-2|0.500000|false".encode()]
    np.testing.assert_array_equal(answer["pair"], [[1, -1], [-2, 2]])
    assert answer["pair"].dtype == np.int32


def test_an_unknown_signature_names_those_there_are(model):
    with pytest.raises(UserError, match=r"no signature 'score'. It has: generate, serving_default"):
        model.predict("score", {"text": ["a"]})


def test_missing_and_unknown_inputs_are_named(model):
    words = (
        r"takes greedy \(bool\), seed \(int32\), temperature \(float32\), text \(string\). "
        r"Missing: \['greedy', 'seed'\]; unknown: \['top_k'\]"
    )
    with pytest.raises(UserError, match=words):
        model.predict("generate", {"text": ["a"], "temperature": [1.0], "top_k": [1]})


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("text", "hello", "input 'text' is a list with one value a row; got 'hello'"),
        ("text", None, "is a list with one value a row; got None"),
        ("text", ["a", 7], "input 'text' takes strings; row 1 is 7"),
        ("text", [["a"], ["b"]], r"takes strings; row 0 is \['a'\]"),
        ("seed", [1.5, 2], r"input 'seed' takes int32, one value a row; got \[1.5, 2\]"),
        ("seed", [2**31, 0], "input 'seed' takes int32"),
        ("seed", ["1", "2"], "input 'seed' takes int32"),
        ("seed", [[1], [2]], "input 'seed' takes int32"),
        ("seed", [[1], [2, 3]], "input 'seed' takes int32"),
        ("seed", [True, False], "input 'seed' takes int32"),
        ("seed", [None, 1], "input 'seed' takes int32"),
        ("temperature", ["hot", "cold"], "input 'temperature' takes float32"),
        ("greedy", [1, 0], "input 'greedy' takes bool"),
        ("seed", [1, 2, 3], "got lengths .*'seed': 3"),
    ],
)
def test_wrong_values(model, name, values, words):
    inputs = {"text": ["a", "你"], "seed": [1, 2], "temperature": [1.0, 0.0], "greedy": [True, True]}
    with pytest.raises(UserError, match=words):
        model.predict("generate", {**inputs, name: values})


def test_no_rows(model):
    with pytest.raises(UserError, match="at least one row"):
        model.predict("serving_default", {"text": []})


def test_folders_that_are_no_model(folder, tmp_path):
    with pytest.raises(UserError, match=r"no folder .*none'. A model is saved_models/NAME or"):
        LocalModel(str(tmp_path / "none"))
    with pytest.raises(
        UserError, match=r"neither saved_model.pb nor a version folder .* Found there: nothing"
    ):
        LocalModel(str(tmp_path))
    (tmp_path / "weights.h5").touch()
    (tmp_path / "3.tmp").mkdir()
    with pytest.raises(UserError, match=r"Found there: 3.tmp, weights.h5"):
        LocalModel(str(tmp_path))


def test_an_unfinished_export_is_never_loaded(folder):
    with pytest.raises(UserError, match=r"11.tmp' is an unfinished export"):
        LocalModel(str(folder / "11.tmp"))


def test_it_loads_without_keras_and_without_the_tensorflow_text_package(folder):
    script = """
import sys
for name in ("keras", "tf_keras", "keras_nlp", "keras_hub", "tflm.models", "tflm.tasks"):
    sys.modules[name] = None
from tflm.serving import LocalModel
print(LocalModel(sys.argv[1]).predict("serving_default", {"text": ["ＡB"]})["text"][0].decode())
found = [name for name, module in sys.modules.items() if module]
print([name for name in found if name.startswith(("tflm.", "tensorflow_text"))])
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    answer, modules = done.stdout.splitlines()
    assert answer == "ab"
    assert {name.split(".")[1] for name in ast.literal_eval(modules)} == {
        "errors",
        "export",
        "files",
        "serving",
    }
