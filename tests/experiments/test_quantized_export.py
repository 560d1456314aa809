"""A run exported in 8 and 4 bits: its outputs, files, card, and a run that begins with it."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.experiments.export_run import publish
from tflm.export.quantize import assign_rounded, quantized_weights
from tflm.export.signatures import read_meta_graph
from tflm.export.weights import read_weights
from tflm.serving import connect

TEXTS = ["line 3", "第3行", ""]


def test_an_export_answers_as_the_model_with_rounded_weights(trained, tmp_path):
    """In 4 bits, with an embedding in 8."""
    path = publish(trained, str(tmp_path / "poet"), only=["serving_default"], weights="int4")
    model, _ = trained.trained_model()
    quantized = quantized_weights(model, "int4")
    assert {weight.stored.centers is None for weight in quantized} == {True, False}
    assign_rounded(quantized)
    expected = trained.task.signatures(model)["serving_default"](tf.constant(TEXTS))["text"].numpy()
    found = connect(path).predict("serving_default", {"text": TEXTS})["text"]
    assert found.tolist() == expected.tolist() and all(found)

    # By the names of the model, as a run begins with them.
    rounded = {weight.path: weight.values() for weight in quantized}
    read = read_weights(path)
    assert rounded.keys() <= read.keys() and not any(name.endswith("/codes") for name in read)
    for name, value in rounded.items():
        np.testing.assert_array_equal(read[name], value, err_msg=name)

    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        assert json.load(file)["source"] == {"run": "tiny_lstm", "step": 2, "weights": "int4"}
    with open(os.path.join(path, "model_card.md"), encoding="utf-8") as file:
        card = file.read()
    assert "| scheme | int4: " in card and "largest relative error" in card
    assert "| verified against | a model in float32 with the values of the quantized weights |" in card
    assert "see Weights." in card

    # Codes are converted in each step of the generation loop.
    functions = read_meta_graph(path).graph_def.library.function
    bodies = [function for function in functions if "while_body" in function.signature.name]
    stored = {tf.int8.as_datatype_enum, tf.uint8.as_datatype_enum}
    assert any(
        node.op == "Cast" and node.attr["SrcT"].type in stored for body in bodies for node in body.node_def
    )


def test_an_unknown_format(trained, tmp_path):
    with pytest.raises(UserError, match=r"weights are stored as float32, bfloat16, int8, int4; got 'int2'\."):
        publish(trained, str(tmp_path / "poet"), weights="int2")
