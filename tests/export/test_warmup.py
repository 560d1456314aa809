"""Warm-up records, read back by an independent parser."""

import os

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from tflm.export.warmup import WARMUP_FILE, prediction_log, write_warmup


def declared_messages():
    """The messages declared to protobuf itself, after tensorflow_serving/apis/*.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="warmup_test.proto", package="warmup_test", syntax="proto3"
    )
    file.dependency.append(tensor_pb2.DESCRIPTOR.name)
    fields = {
        "ModelSpec": [("name", 1, None), ("signature_name", 3, None)],
        "Input": [("key", 1, None), ("value", 2, "tensorflow.TensorProto")],  # an entry of the map
        "PredictRequest": [("model_spec", 1, "warmup_test.ModelSpec"), ("inputs", 2, "warmup_test.Input")],
        "PredictLog": [("request", 1, "warmup_test.PredictRequest")],
        "PredictionLog": [("predict_log", 6, "warmup_test.PredictLog")],
    }
    for message, rows in fields.items():
        declared = file.message_type.add(name=message)
        for name, number, type_name in rows:
            field = declared.field.add(name=name, number=number, type_name=type_name and f".{type_name}")
            field.type = field.TYPE_MESSAGE if type_name else field.TYPE_STRING
            field.label = field.LABEL_REPEATED if name == "inputs" else field.LABEL_OPTIONAL
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("warmup_test.PredictionLog"))


PredictionLog = declared_messages()
INPUTS = {
    "text": np.array(["你好".encode(), b"hello " * 100], object),
    "seed": np.array([1, -2], np.int32),
    "temperature": np.array([0.0, 0.7], np.float32),
}


def check(request, inputs):
    assert (request.model_spec.name, request.model_spec.signature_name) == ("名字", "generate")
    assert sorted(inputs) == sorted(INPUTS)
    for name, array in INPUTS.items():
        np.testing.assert_array_equal(tf.make_ndarray(inputs[name]), array)


def test_records_follow_the_declaration():
    log = PredictionLog.FromString(prediction_log("名字", "generate", INPUTS))
    request = log.predict_log.request
    check(request, {entry.key: entry.value for entry in request.inputs})
    assert prediction_log("名字", "generate", INPUTS) == log.SerializeToString()


def test_records_are_what_tensorflow_serving_reads():
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2",
        reason="needs tensorflow-serving-api: pip install 'tflm[serve]'",
    )
    log = prediction_log_pb2.PredictionLog.FromString(prediction_log("名字", "generate", INPUTS))
    check(log.predict_log.request, dict(log.predict_log.request.inputs))


def test_an_export_holds_the_requests_it_was_checked_with(exports):
    records = tf.data.TFRecordDataset(os.path.join(exports.text, WARMUP_FILE))
    requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["serving_default"] * 2 + ["fold"] * 2 + ["about"] * 2
    texts = [tf.make_ndarray(entry.value).tolist() for entry in requests[1].inputs]
    assert texts == [[text.encode() for text in exports.requests["serving_default"][1]["text"]]]


def test_there_are_never_more_records_than_a_server_accepts(tmp_path):
    request = {"text": np.array([b"a"], object)}
    write_warmup(str(tmp_path), "m", {"s": [request] * 1005})
    assert sum(1 for _ in tf.data.TFRecordDataset(str(tmp_path / WARMUP_FILE))) == 1000


def test_what_xla_compiles_is_left_out(tmp_path):
    """A stock server would fail at it, and drop the version."""
    request = {"text": np.array([b"a"], object)}
    write_warmup(
        str(tmp_path), "m", {"generate_xla": [request], "generate": [request], "score": [request] * 2}
    )
    records = tf.data.TFRecordDataset(str(tmp_path / WARMUP_FILE))
    requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == ["generate", "score", "score"]
