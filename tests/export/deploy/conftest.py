"""Exports as far as a deployment looks at them: signatures, a config and weights of a known size, without a graph."""

import json
import types

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tflm.export.deploy.exported_version import read_exported_version
from tflm.export.deploy.settings import settings_for

TEXT = {"text": (tf.string, [None])}
STATE = {"state_cache": (tf.float32, [None, None, 4, 16]), "state_seen": (tf.bool, [None, 50])}
CLASSIFIER = {"serving_default": (TEXT, "label"), "classify": (TEXT, "label"), "embed": (TEXT, "embedding")}
WRITER = {
    "serving_default": (TEXT, "text"),
    "chat": ({"messages": (tf.string, [None, None]), "max_new_tokens": (tf.int32, [None])}, "text"),
    "decode": ({"num_tokens": (tf.int32, [None]), **STATE}, "piece"),
}
COMPILED = {"serving_default": (TEXT, "text"), "generate_xla": (TEXT, "text")}


def write_version(folder, version, signatures, max_length=100, num_weight_bytes=1000):
    """Writes `folder/version`; its path."""
    path = folder / str(version)
    (path / "variables").mkdir(parents=True)
    with open(path / "variables" / "variables.data-00000-of-00001", "wb") as file:
        file.truncate(num_weight_bytes)  # takes no room on the disk
    (path / "config.json").write_text(json.dumps({"model": {"max_length": max_length}}), encoding="utf-8")
    saved_model = saved_model_pb2.SavedModel()
    definitions = saved_model.meta_graphs.add().signature_def
    for name, (inputs, output) in signatures.items():
        for key, (dtype, shape) in inputs.items():
            tensor = definitions[name].inputs[key]
            tensor.dtype = dtype.as_datatype_enum
            tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
        definitions[name].outputs[output].dtype = tf.string.as_datatype_enum
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return str(path)


@pytest.fixture
def made(tmp_path):
    """`made(signatures, name="chat", version=1)` has the `path`, the `model` read from it, and its `settings`."""

    def make(signatures, name="chat", version=1, **sizes):
        path = write_version(tmp_path / name, version, signatures, **sizes)
        model = read_exported_version(path)
        return types.SimpleNamespace(path=path, model=model, settings=settings_for(model))

    make.classifier, make.writer, make.compiled = CLASSIFIER, WRITER, COMPILED
    return make


@pytest.fixture(scope="session")
def answering(tmp_path_factory):
    """A SavedModel that a server can load."""
    path = tmp_path_factory.mktemp("saved") / "1"

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def answer(text):
        return {"text": tf.strings.lower(text, "utf-8")}

    tf.saved_model.save(tf.Module(), str(path), signatures={"serving_default": answer})
    return path
