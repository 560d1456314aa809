"""A loaded version: compiled signatures are warm before the first request."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tflm.export.warmup import WARMUP_FILE, write_warmup
from tflm.export.write import about_signature
from tflm.serving.server import BatchingConfig, ServingOptions
from tflm.serving.server.core.servable import Servable, tensor_of
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import ServingError


def test_compiled_twins_are_warmed_with_the_requests_of_the_plain_ones(tmp_path):
    module = tf.Module()
    module.calls = tf.Variable(0)
    double = tf.function(lambda x: x + x, jit_compile=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def plain(x):
        return {"y": x + x, "calls": x * 0 + module.calls}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def compiled(x):
        module.calls.assign_add(1)
        return {"y": double(x)}

    path = str(tmp_path / "1")
    tf.saved_model.save(module, path, signatures={"double": plain, "double_xla": compiled})
    values = np.array([3, 4], np.int32)
    write_warmup(path, "m", {"double": [{"x": values}, {"x": values[:1]}], "double_xla": [{"x": values}]})
    servable = Servable(path, "m", 1)
    assert servable.run("double", {"x": values})["calls"].tolist() == [2, 2], (
        "one for each record of `double`"
    )
    assert servable.run("double_xla", {"x": values})["y"].tolist() == [6, 8]


def test_damaged_warm_up_requests_are_a_reason_not_to_load(tmp_path):
    """A `ServingError`, which the manager remembers; anything else it would try again every second."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def same(x):
        return {"y": x}

    path = str(tmp_path / "1")
    tf.saved_model.save(tf.Module(), path, signatures={"same": same})
    write_warmup(path, "m", {"same": [{"x": np.array([1], np.int32)}]})
    file = tmp_path / "1" / WARMUP_FILE
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ServingError, match=r"warm-up requests .*truncated record") as caught:
        Servable(path, "m", 1)
    assert caught.value.code == "DATA_LOSS"


def test_a_signature_with_a_sparse_output_does_not_keep_the_others_from_being_served(tmp_path):
    """As models of TensorFlow 1 may have: such an output has no name."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.int64, [None], "x")
        double = tf.identity(x + x)
        sparse = tf.sparse.from_dense(x)
        info = tf1.saved_model.build_tensor_info
        builder = tf1.saved_model.Builder(str(tmp_path / "1"))
        make = tf1.saved_model.build_signature_def
        definitions = {
            name: make({"x": info(x)}, {"y": info(output)}, "tensorflow/serving/predict")
            for name, output in (("double", double), ("sparse", sparse))
        }
        builder.add_meta_graph_and_variables(session, ["serve"], definitions)
        builder.save()
    values = np.array([3, 4])
    for batching in (None, BatchingConfig(batch_timeout_micros=0)):
        servable = Servable(str(tmp_path / "1"), "m", 1, ServingOptions(batching))
        assert servable.run("double", {"x": values})["y"].tolist() == [6, 8]
        with pytest.raises(ServingError):
            servable.run("sparse", {"x": values})
        servable.close()


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """Signatures of every rank; what runs is an error: shapes are compared before."""
    tensors = {"text": ["text", tf.string, (None,)], "x": ["x", tf.float32, (None, 3)]}
    tensors |= {"words": ["words", tf.string, (None, None)], "one": ["one", tf.int32, ()]}
    tensors |= {"open": ["open", tf.int32, None]}

    def signature(name, dtype, shape):
        def call(value):
            with tf.control_dependencies([tf.debugging.assert_equal(1, tf.cast(tf.timestamp(), tf.int32))]):
                return {"y": tf.identity(value)}

        return tf.function(call, input_signature=[tf.TensorSpec(shape, dtype, name)], autograph=False)

    path = str(tmp_path_factory.mktemp("shaped") / "1")
    tf.saved_model.save(
        tf.Module(), path, signatures={name: signature(*each) for name, each in tensors.items()}
    )
    servable = Servable(path, "m", 1)
    yield servable
    servable.close()


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (
            "text",
            np.array("你好".encode(), object),
            r"takes string \[B\]; got a single value, '你好'. Send a list",
        ),
        (
            "text",
            np.array(b"x" * 5000, object),
            r"takes string \[B\]; got a single value, 'x{99}\.\.\.\. Send",
        ),
        ("text", np.array([[b"a", b"b"]], object), r"takes string \[B\]; got the shape \[1, 2\]\."),
        ("x", np.float32(1.5).reshape(()), r"takes float32 \[B, 3\]; got a single value, 1.5"),
        ("x", np.ones([3], np.float32), r"takes float32 \[B, 3\]; got the shape \[3\]"),
        ("x", np.ones([2, 4], np.float32), r"takes float32 \[B, 3\]; got the shape \[2, 4\]"),
        ("words", np.array([b"a"], object), r"takes string \[B, any\]; got the shape \[1\]"),
        ("one", np.array([1], np.int32), r"takes int32 \[\]; got the shape \[1\]"),
    ],
)
def test_another_shape_is_refused_before_tensorflow_runs(shaped, name, array, words):
    with pytest.raises(ServingError, match=f"Input '{name}' of signature '{name}' {words}") as caught:
        shaped.run(name, {name: array})
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_shape_that_is_declared_runs(shaped):
    runs = [("text", np.array([b"a"], object)), ("x", np.ones([0, 3], np.float32)), ("one", np.int32(1))]
    for name, array in [*runs, ("open", np.ones([1, 2, 3], np.int32))]:
        with pytest.raises(ServingError, match="assertion failed"):
            shaped.run(name, {name: np.asarray(array)})


def test_what_a_model_tells_of_itself_is_asked_once(tmp_path, monkeypatch):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"about": about_signature('{"a": 1}')})
    servable = Servable(str(tmp_path / "1"), "m", 1)
    assert [ServedModel(servable).config for _ in range(2)] == [{"a": 1}] * 2
    monkeypatch.setattr(servable, "run", None)
    assert ServedModel(servable).config == {"a": 1}


@pytest.mark.parametrize(
    "array",
    [
        np.array([["你".encode(), b""], [b"\xff", b"a"]], object),
        np.array(b"a", object),
        np.zeros([0, 3], np.float32),
        np.arange(6, dtype=np.int64).reshape(2, 3).T,
        np.array([True, False]),
        np.array(0.5),
        np.array([1.5, -2], np.float16),
        np.array([1.5, -2], tf.bfloat16.as_numpy_dtype),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_as_a_message(array):
    expected = tf.make_ndarray(tf.make_tensor_proto(array))
    read = tf.make_ndarray(tensor_pb2.TensorProto.FromString(tensor_of(array).SerializeToString()))
    assert (read.dtype, read.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(read, expected)
