"""Tensors as the JSON of a response, in rows ("predictions") or columns ("outputs").

After TensorFlow Serving's `util/json_tensor.cc`; its line breaks are not kept.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.serving.server.core import json_text
from tflm.serving.server.core.status import invalid


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The response to a predict request.

    >>> write_outputs({"y": np.float32([1, 2])}, by_row=False)
    b'{"outputs": [1.0, 2.0]}'

    Raises:
        ServingError: INVALID_ARGUMENT, an output that this form or JSON cannot hold.
    """
    if by_row:
        _check_rows(outputs)
    columns = {name: _nested(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        (value,) = columns.values()
    elif by_row:
        value = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        value = columns
    return json_text.write({"predictions" if by_row else "outputs": value})


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    """Whether the outputs have the same number of rows.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    expected = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        expected = len(array) if expected is None else expected
        if len(array) != expected:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )


def _nested(name: str, array: np.ndarray) -> Any:
    """Nested lists for JSON; strings of an output called `..._bytes` in base64."""
    if array.dtype.kind in "biu":
        return array.tolist()
    if array.dtype.kind == "f":
        return np.array(json_text.numbers(array.reshape(-1)), np.float64).reshape(array.shape).tolist()
    if array.dtype != object:
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype}")
    write = json_text.encode_base64 if name.endswith("_bytes") else json_text.to_text
    leaves = np.empty(array.size, object)
    leaves[:] = [write(value) for value in array.reshape(-1)]
    return leaves.reshape(array.shape).tolist()
