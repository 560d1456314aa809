"""Tensors as the JSON of an answer, in rows ("predictions") or columns ("outputs").

After TensorFlow Serving's `util/json_tensor.cc`, spaces and line ends included.
"""

import base64
from collections.abc import Iterator, Mapping

import numpy as np

from tflm.serving.server import json_text
from tflm.serving.server.status import invalid


def write_outputs(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """The answer to a predict request.

    >>> write_outputs({"y": np.float32([1, 2])}, by_row=False)
    b'{\\n    "outputs": [\\n        1.0,\\n        2.0\\n    ]\\n}'

    Raises:
        ServingError: INVALID_ARGUMENT, an output that this form or JSON cannot hold.
    """
    if by_row:
        return _write_rows(outputs)
    level = 1 if len(outputs) == 1 else 2
    values = {name.encode(): _in_columns(*_nested(name, array), level) for name, array in outputs.items()}
    value = next(iter(values.values())) if len(values) == 1 else json_text.pretty_object(values, 1)
    return json_text.pretty_object({b"outputs": value})


def _write_rows(outputs: Mapping[str, np.ndarray]) -> bytes:
    sizes: dict[str, int] = {}
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        expected = next(iter(sizes.values()), len(array))
        if len(array) != expected:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )
        sizes[name] = len(array)
    level = 2 if len(outputs) == 1 else 3
    columns = {name.encode(): _in_rows(*_nested(name, array), level) for name, array in outputs.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if len(outputs) == 1:
        # The stock server puts values that are no objects in one line, and the bracket behind them in its own.
        inside = b", ".join(value for row in rows for value in row.values())
        answer = b"[" + inside + b"\n    ]" if rows else b"[]"
    else:
        answer = json_text.pretty_list([json_text.pretty_object(row, 2) for row in rows], 1)
    return json_text.pretty_object({b"predictions": answer})


def _nested(name: str, array: np.ndarray) -> tuple[list[bytes], tuple[int, ...], bool]:
    """The values as JSON, flat; their shape; whether they are bytes in base64."""
    flat = array.reshape(-1)
    as_base64 = array.dtype == object and name.endswith("_bytes")
    if as_base64:
        values = [b'"' + base64.b64encode(value) + b'"' for value in flat]
    elif array.dtype == object:
        values = [json_text.string(value) for value in flat]
    elif array.dtype.kind == "f":
        values = json_text.numbers(flat)
    elif array.dtype.kind == "b":
        values = [b"true" if value else b"false" for value in flat]
    elif array.dtype.kind in "iu":
        values = [b"%d" % value for value in flat.tolist()]
    else:
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype}")
    return values, array.shape, as_base64


def _in_columns(values: list[bytes], shape: tuple[int, ...], as_base64: bool, level: int) -> bytes:
    """Every value in a line of its own; `level` is that of the value itself."""
    if as_base64:
        values = [json_text.pretty_object({b"b64": value}, level + len(shape)) for value in values]
    for axis in range(len(shape) - 1, -1, -1):
        values = [json_text.pretty_list(group, level + axis) for group in _groups(values, shape, axis)]
    return values[0]


def _in_rows(values: list[bytes], shape: tuple[int, ...], as_base64: bool, level: int) -> list[bytes]:
    """A value for each row, each list in one line."""
    if as_base64:
        values = [json_text.pretty_object({b"b64": value}, level - 1 + len(shape)) for value in values]
    for axis in range(len(shape) - 1, 0, -1):
        values = [b"[" + b", ".join(group) + b"]" for group in _groups(values, shape, axis)]
    return values


def _groups(values: list[bytes], shape: tuple[int, ...], axis: int) -> Iterator[list[bytes]]:
    """The values in lists as long as an axis."""
    size = shape[axis]
    for index in range(int(np.prod(shape[:axis]))):
        yield values[index * size : (index + 1) * size]
