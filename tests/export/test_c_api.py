"""Exports answer through TensorFlow's C API, as they do in a C++ server, with no TensorFlow in Python."""

import base64
import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tflm.export import read_signatures, text_op_libraries
from tflm.export.signatures import read_meta_graph

RUNNER = os.path.join(os.path.dirname(__file__), "c_api_runner.py")


def run(path, signature, inputs, op_libraries=()):
    """Outputs of a signature by name; the runner's message on an error."""
    names = read_meta_graph(path).signature_def[signature]
    dtypes = read_signatures(path)[signature]
    task = {
        "library": os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"),
        "op_libraries": list(op_libraries),
        "path": path,
        "inputs": [
            {"tensor": names.inputs[name].name, "dtype": dtypes.inputs[name], "values": encoded(values)}
            for name, values in inputs.items()
        ],
        "outputs": [
            {"tensor": names.outputs[name].name, "dtype": dtype} for name, dtype in dtypes.outputs.items()
        ],
    }
    command = [sys.executable, "-I", RUNNER]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        return done.stderr
    outputs = dict(zip(dtypes.outputs, json.loads(done.stdout)))
    if dtypes.outputs.get("text") == "string":
        outputs["text"]["values"] = [base64.b64decode(value) for value in outputs["text"]["values"]]
    return outputs


def encoded(values):
    """Texts, in lists of any depth, in base64."""
    if isinstance(values, list):
        return [encoded(value) for value in values]
    return base64.b64encode(values.encode()).decode() if isinstance(values, str) else values


def test_a_core_only_model(exports):
    texts = ["hello", "你好", "", "a text of more than twenty-four bytes"]
    outputs = run(exports.core, "serving_default", {"text": texts})
    assert outputs["text"] == {"shape": [4], "values": [exports.shifted(text) for text in texts]}
    assert outputs["num_characters"]["values"] == [5, 2, 0, 37]


def test_a_model_with_tensorflow_text(exports):
    inputs = {"text": ["ＡＢＣ", "你好"], "scale": [3.0, -1.5]}
    outputs = run(exports.text, "fold", inputs, text_op_libraries())
    assert outputs["text"] == {"shape": [2], "values": [b"abc", "你好".encode()]}
    assert outputs["scaled"]["values"] == pytest.approx([1.0, -0.5])


def test_without_the_ops_of_tensorflow_text_it_does_not_load(exports):
    message = run(exports.text, "fold", {"text": ["a"], "scale": [1.0]})
    assert "Op type not registered" in message
