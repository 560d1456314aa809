"""The weights of an export come back under the names of the model, with every bit."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.export.weights import WEIGHTS_FILE, read_weights, write_weight_names
from tflm.export.write import module_to_save

NUMBERS = tf.TensorSpec([None], tf.int32, "ids")


@pytest.fixture
def saved(tmp_path):
    """A model, the names of what its signature uses, and the folder that it was saved to."""
    layers = [
        keras.layers.Embedding(10, 4, name="table"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, name="out"),
    ]
    model = keras.Sequential(layers, name="model")
    model(tf.zeros([1, 2], tf.int32))
    unused = keras.layers.Dense(2, name="unused")
    unused.build((None, 3))
    plain = tf.Module()
    plain.scale = tf.Variable(2.0)

    @tf.function(input_signature=[NUMBERS])
    def function(ids):
        return {"logits": model(ids[:, None])[:, 0] * plain.scale}

    tracked = [plain, model, unused]
    module = module_to_save({"s": function}, tracked)
    tf.saved_model.save(module, str(tmp_path), signatures={"s": function})
    write_weight_names(str(tmp_path), module, tracked)
    return model, str(tmp_path)


def test_path_to_value(saved):
    model, path = saved
    weights = read_weights(path)
    assert weights.keys() == {"model/table/embeddings", "model/out/kernel", "model/out/bias"}
    for variable in model.weights:
        np.testing.assert_array_equal(weights[variable.path], variable)


def test_there_is_no_second_copy(saved):
    _, path = saved
    with open(os.path.join(path, WEIGHTS_FILE), encoding="utf-8") as file:
        names = json.load(file)
    stored = dict(tf.train.list_variables(os.path.join(path, "variables", "variables")))
    assert {name: stored[name] for name in names.values()}
    assert sorted(os.listdir(path)) == [
        "assets",
        "assets.extra",
        "fingerprint.pb",
        "saved_model.pb",
        "variables",
    ]
    assert os.listdir(os.path.join(path, "assets.extra")) == ["weights.json"]


def test_an_older_export(saved):
    _, path = saved
    os.remove(os.path.join(path, WEIGHTS_FILE))
    with pytest.raises(
        UserError, match=r"cannot read the weights of .* If it was exported by an older tflm, export"
    ):
        read_weights(path)


@pytest.mark.parametrize(
    "content", ["{", '{"model/out/kernel": "weights/99/.ATTRIBUTES/VARIABLE_VALUE"}', "[1]"]
)
def test_damaged_names(saved, content):
    _, path = saved
    with open(os.path.join(path, WEIGHTS_FILE), "w", encoding="utf-8") as file:
        file.write(content)
    with pytest.raises(UserError, match="cannot read the weights of "):
        read_weights(path)
