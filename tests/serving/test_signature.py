"""Requests of any rank as arrays, and what is said of those that fit no signature."""

import ml_dtypes
import numpy as np
import pytest

from tflm.errors import UserError
from tflm.serving.signature import Signature, numpy_dtype, shape_text, to_array

STATE = Signature(
    {"text": "string", "keys": "float32", "cache_index": "int32", "padding": "int32"},
    {"piece": "string"},
    {"text": (None,), "keys": (None, None, 4), "cache_index": (), "padding": (1, None)},
    {"piece": (None,)},
)


def test_a_state_of_many_ranks():
    keys = np.random.default_rng(0).standard_normal((2, 3, 4))
    arrays = STATE.arrays(
        "decode", {"text": ["a", "你"], "keys": keys, "cache_index": 7, "padding": [[1, 2, 3]]}
    )
    assert arrays["text"].tolist() == [b"a", "你".encode()]
    np.testing.assert_array_equal(arrays["keys"], keys.astype(np.float32))
    assert (arrays["cache_index"].shape, arrays["cache_index"].dtype) == ((), np.int32)
    assert arrays["padding"].shape == (1, 3)


def test_the_number_of_rows_counts_where_the_first_axis_is_open():
    inputs = {"text": ["a", "b", "c"], "keys": np.zeros((2, 3, 4)), "cache_index": 0, "padding": [[1]]}
    with pytest.raises(UserError, match=r"at least one row; got lengths {'text': 3, 'keys': 2}"):
        STATE.arrays("decode", inputs)


@pytest.mark.parametrize(
    "values, dtype, shape",
    [
        ([["a", "b"], ["你", ""]], "string", (None, None)),
        ([["a", "b"], ["\uffff", ""]], "string", None),
        ([[["a"], ["b"]]], "string", (None, 2, 1)),
        ("alone", "string", ()),
        ([[], []], "string", (None, None)),
        ([[1, 2], [3, 4]], "float32", None),
        (np.zeros((2, 0, 3)), "float16", (None, None, 3)),
        ([[True, False]], "bool", (None, 2)),
        ([[0.5, 2]], "bfloat16", (None, None)),
    ],
)
def test_shapes_that_fit(values, dtype, shape):
    array = to_array("x", values, dtype, shape)
    assert array.dtype == numpy_dtype(dtype)
    assert array.shape == np.shape(values)
    expected = np.asarray(values).ravel()
    found = array.ravel().astype(np.float64 if dtype != "string" else object)
    as_bytes = [v.encode() if isinstance(v, str) else v for v in expected.tolist()]
    assert found.tolist() == (as_bytes if dtype == "string" else expected.astype(np.float64).tolist())


def test_bfloat16_passes_as_it_is():
    values = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    assert to_array("x", values, "bfloat16", (None, 2)).tolist() == values.tolist()


@pytest.mark.parametrize(
    "values, dtype, shape, words",
    [
        ([[1.0, 2.0]], "float32", (None, None, 4), r"takes float32 \[any, any, 4\]; got the shape \[1, 2\]"),
        (np.zeros((1, 2, 3)), "float32", (None, None, 4), r"\[any, any, 4\]; got the shape \[1, 2, 3\]"),
        ([1, 2], "int32", (), r"takes int32 \[\]; got the shape \[2\]"),
        ([[1], [2, 3]], "int32", (None, None), r"takes int32, shape \[any, any\]; got \[\[1\], \[2, 3\]\]"),
        ([[0.5]], "int64", (None, None), r"takes int64, shape \[any, any\]; got \[\[0.5\]\]"),
        ([[2**40]], "int32", (None, None), "takes int32, shape"),
        (
            [["a"], ["b", "c"]],
            "string",
            (None, None),
            r"lists along axis 1 have 1 to 2 values. Make them equally",
        ),
        (["a"], "string", (None, None), r"takes string \[any, any\]; got \['a'\]"),
        ([["a", 3]], "string", (None, None), "takes strings; value 1 is 3"),
        ([["a"]], "string", (None, 2), r"takes string \[any, 2\]; got the shape \[1, 1\]"),
        (["x" * 500], "int32", (None,), r"\.\.\."),
    ],
)
def test_shapes_that_do_not(values, dtype, shape, words):
    with pytest.raises(UserError, match=words):
        to_array("x", values, dtype, shape)


def test_shapes_in_words():
    assert [shape_text(shape) for shape in ((None, 3), (), None)] == ["[any, 3]", "[]", "of any shape"]
