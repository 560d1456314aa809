"""Arrays through JSON and back: what `json_inputs` reads and `json_outputs` writes is what Python's json would."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tflm.serving.server.core.json_text import parse
from tflm.serving.server.core.status import ServingError, from_tensorflow
from tflm.serving.server.rest.json_inputs import read_inputs
from tflm.serving.server.rest.json_outputs import write_outputs

SHAPES = [(3,), (2, 3), (2, 0), (1, 2, 3), (2, 2, 1, 2)]
RANDOM = np.random.default_rng(5)


def array_of(dtype, shape):
    if dtype == "string":
        texts = np.array(["a", "你好", 'q"\\\n', "", "😀"], object)
        return texts[RANDOM.integers(0, 5, shape)]
    return (RANDOM.integers(-50, 50, shape) / 8).astype(dtype)


def in_bytes(array):
    encode = np.frompyfunc(lambda value: value.encode() if isinstance(value, str) else value, 1, 1)
    return encode(array).astype(object)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["string", "float32", "int64"])
def test_both_forms_read_and_write_the_same(dtype, shape):
    array = array_of(dtype, shape)
    for key, by_row in (("instances", True), ("inputs", False)):
        body = parse(json.dumps({key: array.tolist()}, ensure_ascii=False).encode())
        inputs, found_by_row = read_inputs(body, {"x": dtype})
        expected = in_bytes(array) if dtype == "string" else array
        assert found_by_row == by_row
        assert inputs["x"].shape == shape
        assert inputs["x"].tolist() == expected.tolist()
        (answer,) = json.loads(write_outputs({"y": expected}, by_row)).values()
        assert answer == array.tolist()
        (answer,) = json.loads(write_outputs({"y": expected, "z": expected}, by_row)).values()
        columns = answer if not by_row else {name: [row[name] for row in answer] for name in ("y", "z")}
        assert columns == {"y": array.tolist(), "z": array.tolist()}


def test_bytes_in_base64_at_every_depth():
    array = np.array([[b"\xff", b""]], object)
    for by_row in (True, False):
        (answer,) = json.loads(write_outputs({"y_bytes": array}, by_row)).values()
        assert answer == [[{"b64": "/w=="}, {"b64": ""}]]


def test_rows_of_unequal_number():
    with pytest.raises(ServingError, match="Tensor name: b has inconsistent batch size: 1 expecting: 2"):
        write_outputs({"a": np.zeros(2), "b": np.zeros(1)}, by_row=True)


def test_a_dtype_that_json_has_not():
    with pytest.raises(ServingError, match="Failed to write JSON value for tensor type: complex64"):
        write_outputs({"a": np.zeros(2, np.complex64)}, by_row=False)
    with pytest.raises(ServingError, match="UNIMPLEMENTED: Conversion of JSON Value: 1 to type: complex64"):
        read_inputs({"inputs": [1]}, {"a": "complex64"})


def test_what_tensorflow_raises_keeps_its_code_and_words():
    words = "{{function_node __inference_f_1}} In[0] ndims must be >= 2\n\t [[{{node matmul}}]] [Op:__inference_f_1]"
    found = from_tensorflow(tf.errors.InvalidArgumentError(None, None, words))
    assert str(found) == "INVALID_ARGUMENT: In[0] ndims must be >= 2\n\t [[{{node matmul}}]]"
    assert from_tensorflow(tf.errors.ResourceExhaustedError(None, None, "x")).code == "RESOURCE_EXHAUSTED"
    assert from_tensorflow(RuntimeError("x")).code == "INTERNAL"
