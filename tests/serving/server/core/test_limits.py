"""Requests that ask for too much are refused before anything runs."""

import numpy as np
import pytest

from tflm.serving.server import ServingError
from tflm.serving.server.core.limits import check_rows, check_tokens


def numbers(*values, dtype=np.int32):
    return np.array(values, dtype)


def test_as_many_as_the_limit_are_taken():
    check_tokens({"max_new_tokens": numbers(8, 512), "text": np.array([b"a", b"b"], object)}, 512)
    check_tokens({"max_new_tokens": numbers(2**30)}, None)
    check_tokens({"max_new_tokens": numbers(128), "beam_size": numbers(4)}, 512)
    check_tokens({"max_new_tokens": numbers(512), "beam_size": numbers(0)}, 512)
    check_tokens(
        {"max_new_tokens": np.array(900), "num_tokens": np.array([900.0])}, 512
    )  # the model refuses those


@pytest.mark.parametrize(
    "inputs, words",
    [
        (
            {"max_new_tokens": numbers(8, 513)},
            r"Row 1 asks for 513 tokens; the limit is 512 per row \(--max_generated_tokens\). "
            r"Lower max_new_tokens\.",
        ),
        ({"num_tokens": numbers(600)}, r"Row 0 asks for 600 tokens; .* Lower num_tokens\."),
        (
            {"max_new_tokens": numbers(128, 129), "beam_size": numbers(4, 4)},
            r"Row 1 asks for 516 tokens; .* Lower max_new_tokens or beam_size\.",
        ),
        (
            {"max_new_tokens": numbers(2**62, dtype=np.int64), "beam_size": numbers(8)},
            "asks for 36893488147419103232 tokens",
        ),
    ],
)
def test_more_is_refused(inputs, words):
    with pytest.raises(ServingError, match=words) as caught:
        check_tokens(inputs, 512)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_rows():
    rows = {"text": np.array([b"a"] * 64, object), "n": np.array(1), "state_cache": np.zeros([99, 64, 2])}
    check_rows(rows, 64)
    check_rows({**rows, "text": np.array([b"a"] * 65, object)}, None)
    check_rows({}, 1)
    words = r"has 65 rows; the limit is 64 \(--max_rows\). Send fewer rows at a time\."
    with pytest.raises(ServingError, match=words) as caught:
        check_rows({**rows, "text": np.array([b"a"] * 65, object)}, 64)
    assert caught.value.code == "INVALID_ARGUMENT"
