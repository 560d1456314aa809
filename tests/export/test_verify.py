"""A fresh process with nothing but TensorFlow answers as the functions did; every difference is noticed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.export import ExportError, verify, verify_child, verify_export
from tflm.export.verify import answers_in_memory, arrays_of_requests, as_written, describe_difference

TEXT = tf.TensorSpec([None], tf.string, "text")
SEED = tf.TensorSpec([None], tf.int32, "seed")


BFLOAT16 = tf.bfloat16.as_numpy_dtype
RUN_CHILD = verify._run_child


@pytest.fixture(autouse=True, scope="module")
def own_process():
    """Not one that is forked from a shared server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "_run_child", RUN_CHILD)
        yield


def floats(values):
    return np.array(values, np.float32)


def integers(values):
    return np.array(values, np.int32)


def strings(*values):
    return np.array([value.encode() for value in values], object)


def test_a_wrong_answer_is_shown_with_its_row(exports):
    signatures = {"serving_default": exports.module.answer}
    requests = arrays_of_requests(signatures, {"serving_default": exports.requests["serving_default"]})
    expected = answers_in_memory(signatures, requests)
    assert expected["serving_default"][1]["text"][0] == exports.shifted("你好")
    expected["serving_default"][1]["text"][0] = "你好".encode()
    words = (
        f"request 1, output 'text': row 0 differs: expected '你好', got '{exports.shifted('你好').decode()}'"
    )
    with pytest.raises(ExportError, match=words):
        verify_export(exports.core, requests, expected)


@pytest.mark.parametrize(
    "expected, got, same",
    [
        (floats([1.0, np.nan, -np.inf]), floats([1.00005, np.nan, -np.inf]), True),
        (floats([1.0]), floats([1.0003]), False),
        (floats([np.inf]), floats([-np.inf]), False),
        (floats([0.0]), floats([1e-7]), True),
        (integers([2**31 - 1]), integers([2**31 - 2]), False),
        (np.array([True]), np.array([False]), False),
        (
            np.array([1.5, 2.5], BFLOAT16),
            np.array([1.5, 2.5], BFLOAT16),
            True,
        ),
        (integers([1]), np.array([1], np.int64), False),
        (np.zeros([1, 2], np.int32), np.zeros([1, 3], np.int32), False),
        (strings("é"), strings("é"), True),
        (strings("é"), strings("e\u0301"), False),
    ],
)
def test_what_counts_as_a_difference(expected, got, same):
    assert (describe_difference(expected, got) == "") == same


@pytest.mark.parametrize(
    "array",
    [
        np.array([["你好".encode(), b""], [b"\xff\x00", b"a"]], object),
        np.zeros([0, 3], np.int64),
        np.array([-np.inf, np.nan, 0.1], np.float32),
        np.array([0.1, -3.0], BFLOAT16),
        np.array([True, False]),
    ],
)
def test_arrays_cross_between_the_processes_unchanged(array):
    back = verify_child.decode(verify_child.encode(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_the_fresh_process_has_no_tflm_and_no_keras(exports, tmp_path):
    """The child's own `main`, and then a try to import what it must not have."""
    script = """
import runpy, sys
runpy.run_path(sys.argv[1], run_name="child")["main"](sys.argv[2], sys.argv[3])
for name in ("tflm", "keras", "keras_nlp", "keras_hub", "tensorflow_text"):
    try:
        __import__(name)
        print("imported", name)
    except ImportError:
        pass
print([name for name in sys.modules if name.startswith("tflm.")])
"""
    task, answers = tmp_path / "task.json", tmp_path / "answers.json"
    requests = {"serving_default": [{"text": strings("你好")}]}
    task.write_text(json.dumps(verify.child_task(exports.core, requests)), encoding="utf-8")
    command = [sys.executable, "-I", "-c", script, verify_child.__file__, str(task), str(answers)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
    text = json.loads(answers.read_text(encoding="utf-8"))["serving_default"][0]["text"]
    assert verify_child.decode(text)[0] == exports.shifted("你好")


def test_a_model_that_does_not_load_says_why(exports, tmp_path):
    shutil.copy(f"{exports.core}/saved_model.pb", tmp_path)
    with pytest.raises(ExportError, match=r"(?s)does not load or run in a fresh process.*variables"):
        verify_export(str(tmp_path), {}, {})


def one_signature(function, specs):
    return {"s": tf.function(function, input_signature=specs)}


@pytest.mark.parametrize(
    "requests, words",
    [
        ({}, r"signatures \['s'\] need a request each; got requests for \[\]"),
        ({"s": []}, "need a request each"),
        ({"s": [{"text": ["a"]}]}, r"takes \['seed', 'text'\]; the request has \['text'\]"),
        ({"s": [{"text": ["a"], "seed": ["b"]}]}, "does not fit"),
        ({"s": [{"text": ["a"], "seed": [1, 2]}]}, "inputs of a request have unequal lengths"),
    ],
)
def test_requests_that_do_not_fit(requests, words):
    signatures = one_signature(lambda text, seed: {"text": text}, [TEXT, SEED])
    with pytest.raises(UserError, match=words):
        arrays_of_requests(signatures, requests)


def test_an_output_must_have_a_row_for_each_input():
    signatures = one_signature(lambda text: {"twice": tf.concat([text, text], 0)}, [TEXT])
    requests = arrays_of_requests(signatures, {"s": [{"text": ["a", "你"]}]})
    with pytest.raises(UserError, match="output 'twice' has 4 rows for 2 inputs"):
        answers_in_memory(signatures, requests)


def test_what_runs_as_written_leaves_the_settings_as_they_were():
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"constant_folding": False, "disable_meta_optimizer": False})
    try:
        with as_written():
            found = tf.config.optimizer.get_experimental_options()
            assert found["disable_meta_optimizer"] and not found["constant_folding"]
        found = tf.config.optimizer.get_experimental_options()
        assert not found["disable_meta_optimizer"] and not found["constant_folding"]
    finally:
        tf.config.optimizer.set_experimental_options({"constant_folding": True, **before})


def test_the_answers_in_memory_are_those_of_the_functions_as_written():
    seen = []

    @tf.function(input_signature=[TEXT])
    def function(text):
        return {"text": text}

    def answer(*inputs):
        seen.append(tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"])
        return function(*inputs)

    answer.input_signature = function.input_signature
    answer.get_concrete_function = function.get_concrete_function
    answers = answers_in_memory({"s": answer}, {"s": [{"text": strings("你好")}]})
    assert answers["s"][0]["text"][0].decode() == "你好"
    assert seen == [True]
