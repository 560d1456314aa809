"""The tensors of a predict request in JSON, in its two forms: rows ("instances") and columns ("inputs").

After TensorFlow Serving's `util/json_tensor.cc`, whose messages are kept word for word: clients match on them.
`json_outputs` writes the responses.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.serving.server.core import json_text
from tflm.serving.server.core.status import ServingError, invalid

_MAX_RANK = 32
_INTEGERS = {
    "int8": "int32",
    "int16": "int32",
    "uint8": "int32",
}  # the stock server reads small ones as int32
_FLOATS = {"float32": "float", "float64": "double"}


def read_inputs(body: Mapping[str, Any], dtypes: Mapping[str, str]) -> tuple[dict[str, np.ndarray], bool]:
    """The tensors of a predict request, and whether it came as rows.

    >>> read_inputs({"instances": [1.0, 2.0]}, {"x": "float32"})
    ({'x': array([1., 2.], dtype=float32)}, True)

    Args:
        body: the parsed request.
        dtypes: input name to dtype name, of the signature.
    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if "instances" in body and "inputs" in body:
        raise invalid(
            f"JSON Value: {json_text.shown(body)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if "instances" in body:
        rows = body["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {json_text.shown(body)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {json_text.shown(body)} No values in 'instances' array")
        return _read_rows(rows, dtypes), True
    if "inputs" in body:
        return _read_columns(body["inputs"], dtypes), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_rows(rows: list[Any], dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(rows[0], dict) and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    named = _is_object(rows[0])
    read: dict[str, list[np.ndarray]] = {}
    only = next(iter(dtypes))
    for index, row in enumerate(rows):
        if named and not _is_object(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if not named and _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        for name, value in row.items() if named else [(only, row)]:
            try:
                _add_row(read, name, value, dtypes)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {error}"
                ) from error
        if named and row.keys() != dtypes.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {json_text.shown(row)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return {name: np.stack(arrays) for name, arrays in read.items()}


def _add_row(read: dict[str, list[np.ndarray]], name: str, value: Any, dtypes: Mapping[str, str]) -> None:
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    array = _read_tensor(value, dtypes[name])
    first = read.setdefault(name, [array])[0]
    if first is array:
        return
    if array.size != first.size:
        raise invalid(f"Expecting tensor size: {first.size} but got: {array.size}")
    if array.shape != first.shape:
        raise invalid(f"Expecting shape {_shape_text(first)} but got: {_shape_text(array)}")
    read[name].append(array)


def _read_columns(value: Any, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        return {name: _read_tensor(value, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _read_tensor(value[name], dtype) for name, dtype in dtypes.items()}


def _read_tensor(value: Any, dtype: str) -> np.ndarray:
    """A value or nested lists as an array; the first element of each level says how long its lists are."""
    sizes, probe = [], value
    while isinstance(probe, list):
        sizes.append(len(probe))
        if len(sizes) > _MAX_RANK:
            raise invalid(f"Lists are nested more than {_MAX_RANK} deep; more dimensions are not supported.")
        if not probe:
            break
        probe = probe[0]
    level = [value]
    for size in sizes:
        if any(type(item) is not list or len(item) != size for item in level):
            _refuse_shape(value, 0, sizes, dtype)
        level = list(itertools.chain.from_iterable(level))
    if any(isinstance(leaf, list) for leaf in level):
        _refuse_shape(value, 0, sizes, dtype)
    return _leaves(level, dtype).reshape(sizes)


def _refuse_shape(value: Any, level: int, sizes: list[int], dtype: str) -> None:
    """Walks through nested lists that fit no tensor, to the first that does not, and says how.

    Raises:
        ServingError: always, if the lists are called for a good reason.
    """
    if not isinstance(value, list):
        if level != len(sizes):
            raise invalid(
                f"JSON Value: {json_text.shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(sizes)}"
            )
        _leaves([value], dtype)
        return
    if level >= len(sizes):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(sizes)}")
    if len(value) != sizes[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {sizes[level]}"
        )
    for item in value:
        _refuse_shape(item, level + 1, sizes, dtype)


def _leaves(values: list[Any], dtype: str) -> np.ndarray:
    """Values of JSON as a flat array, each checked."""
    if dtype == "string":
        array = np.empty(len(values), object)
        array[:] = [_string(value) for value in values]
        return array
    types = set(map(type, values))
    if dtype in _FLOATS:
        if not types <= {int, float} or not _lossless(values, types, dtype):
            for value in values:
                _check_float(value, dtype)
        with np.errstate(over="ignore"):
            return np.array(values, np.float64).astype(dtype)
    if dtype == "bool":
        for value in values if types - {bool} else ():
            if type(value) is not bool:
                raise _wrong_type(value, dtype)
        return np.array(values, bool)
    if np.dtype(tf.as_dtype(dtype).as_numpy_dtype).kind in "iu":
        limits = np.iinfo(_INTEGERS.get(dtype, dtype))
        for value in values:
            if type(value) is not int or not limits.min <= value <= limits.max:
                raise _wrong_type(value, dtype)
        return np.array(values, limits.dtype).astype(dtype)
    value = json_text.shown(values[0]) if values else ""
    raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {value} to type: {_type_name(dtype)}")


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        return json_text.to_bytes(value)
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    if not json_text.is_base64(value):
        raise invalid(f"JSON Value: {json_text.shown(value)} not formatted correctly for base64 data")
    return json_text.decode_base64(value)


def _lossless(values: list[Any], types: set[type], dtype: str) -> bool:
    """Whether none of these numbers can be too large; a quick look."""
    limit = 2 ** (np.finfo(dtype).nmant + 1) - 1
    integers = [value for value in values if type(value) is int] if int in types else []
    with np.errstate(over="ignore", invalid="ignore"):
        is_checked = float in types and dtype == "float32"
        floats = np.array(
            [value for value in values if type(value) is float] if is_checked else [], np.float64
        )
        too_large = np.isfinite(floats) & (np.abs(floats) > np.finfo(np.float32).max)
    return not too_large.any() and all(-limit <= value <= limit for value in integers)


def _check_float(value: Any, dtype: str) -> None:
    if type(value) not in (int, float):
        raise _wrong_type(value, dtype)
    if not _lossless([value], {type(value)}, dtype):
        raise invalid(
            f"Cannot convert JSON value: {json_text.shown(value)} to {_FLOATS[dtype]} without loss of precision."
        )


def _wrong_type(value: Any, dtype: str) -> ServingError:
    return invalid(
        f"JSON Value: {json_text.shown(value)} Type: {json_text.type_name(value)} is not of expected type: "
        f"{_type_name(dtype)}"
    )


def _type_name(dtype: str) -> str:
    return _FLOATS.get(dtype, dtype)


def _shape_text(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not json_text.is_base64(value)
