"""The messages of `prediction.proto` are, on the wire, the published ones."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from tflm.serving.client.grpc import DTYPES, array_of, tensor_of
from tflm.serving.protos import prediction_pb2

PUBLISHED = {
    "TensorShapeProto": tf.TensorShape([1]).as_proto().DESCRIPTOR,
    "TensorProto": tf.make_tensor_proto(1).DESCRIPTOR,
    "ModelSpec": model_pb2.ModelSpec.DESCRIPTOR,
    "PredictRequest": predict_pb2.PredictRequest.DESCRIPTOR,
    "PredictResponse": predict_pb2.PredictResponse.DESCRIPTOR,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest.DESCRIPTOR,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse.DESCRIPTOR,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap.DESCRIPTOR,
    "SignatureDef": meta_graph_pb2.SignatureDef.DESCRIPTOR,
    "TensorInfo": meta_graph_pb2.TensorInfo.DESCRIPTOR,
}
ENUM_AS_INT32 = {14: 5}  # the wire does not tell them apart


@pytest.mark.parametrize("name", PUBLISHED)
def test_fields_have_the_published_names_numbers_and_types(name):
    published = PUBLISHED[name].fields_by_name
    for field in prediction_pb2.DESCRIPTOR.message_types_by_name[name].fields:
        twin = published[field.name]
        assert (field.number, field.type) == (twin.number, ENUM_AS_INT32.get(twin.type, twin.type)), (
            field.name
        )
        assert field.is_repeated == twin.is_repeated


def test_every_message_is_compared():
    """Also the one inside another, and both sets of messages are in this process."""
    assert set(PUBLISHED) == set(prediction_pb2.DESCRIPTOR.message_types_by_name)
    size = prediction_pb2.TensorShapeProto.Dim.DESCRIPTOR.fields_by_name["size"]
    published = tf.TensorShape([1]).as_proto().dim[0].DESCRIPTOR.fields_by_name["size"]
    assert (size.number, size.type) == (published.number, published.type)


def test_dtype_numbers():
    for number, name in DTYPES.items():
        assert tf.as_dtype(name).as_datatype_enum == number


ARRAYS = [
    np.array([b"a", "你".encode(), b"\xff\x00"], object),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(7, np.int32),
    np.zeros((2, 0), np.int64),
    np.array([True, False]),
    np.array([1.5, -2.0], np.float16),
    np.array([1.5, -2.0], ml_dtypes.bfloat16),
    np.array([2**64 - 1], np.uint64),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_tensors_there_and_back(array):
    name = "string" if array.dtype == object else array.dtype.name
    sent = tf.make_tensor_proto(0).FromString(tensor_of(array, name).SerializeToString())
    assert tf.make_ndarray(sent).tolist() == array.tolist()
    back = array_of(prediction_pb2.TensorProto.FromString(tf.make_tensor_proto(array).SerializeToString()))
    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())


@pytest.mark.parametrize(
    "name", ["float32", "float64", "int32", "uint8", "int64", "bool", "uint32", "float16"]
)
def test_values_in_lists_as_stock_servers_send_them(name):
    """The last value stands for all that follow."""
    array = np.array([1, 0, 0, 0]).astype(name).reshape(2, 2)
    whole = tf.make_tensor_proto(array)
    published = type(whole)(dtype=whole.dtype, tensor_shape=whole.tensor_shape)
    field = {
        "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val",
        "uint32": "uint32_val", "float16": "half_val",
    }.get(name, "int_val")  # fmt: skip
    values = array.ravel()[:2]
    getattr(published, field).extend((values.view(np.uint16) if name == "float16" else values).tolist())
    found = array_of(prediction_pb2.TensorProto.FromString(published.SerializeToString()))
    np.testing.assert_array_equal(found, tf.make_ndarray(published))
    assert found.dtype == array.dtype
