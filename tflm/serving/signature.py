"""What a signature takes and gives, and a request checked against it before it is sent. No TensorFlow here."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from tflm.errors import UserError

Shape = tuple[int | None, ...] | None
"""Sizes of a tensor's axes, None where any size goes; None alone where the rank is open too."""

_KINDS = {"int": "iu", "uint": "iu", "float": "iuf", "bool": "b"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names, dtypes and shapes: `Signature({"text": "string"}, {"text": "string"}, {"text": (None,)}, ...)`."""

    inputs: dict[str, str]
    """Input name to dtype name."""
    outputs: dict[str, str]
    """Output name to dtype name."""
    input_shapes: dict[str, Shape]
    """Input name to declared shape; the batch is the first axis, None."""
    output_shapes: dict[str, Shape]
    """Output name to declared shape."""

    def arrays(self, name: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """A request as arrays of the dtypes that the signature takes.

        >>> signature.arrays("generate", {"text": ["你"], "top_k": [40]})
        {'text': array([b'\\xe4\\xbd\\xa0'], dtype=object), 'top_k': array([40], dtype=int32)}

        Args:
            name: the signature's name, for messages.
            inputs: input name to (nested) lists or an array: strings (or UTF-8 bytes), integers, floats, booleans.
        Raises:
            UserError: missing or unknown inputs, values of the wrong type or shape, unequal numbers of rows.
        """
        if sorted(inputs) != sorted(self.inputs):
            missing = sorted(set(self.inputs) - set(inputs))
            unknown = sorted(set(inputs) - set(self.inputs))
            wanted = ", ".join(f"{key} ({dtype})" for key, dtype in self.inputs.items())
            raise UserError(f"signature {name!r} takes {wanted}. Missing: {missing}; unknown: {unknown}.")
        arrays = {
            key: to_array(key, inputs[key], dtype, self.input_shapes[key])
            for key, dtype in self.inputs.items()
        }
        rows = {
            key: len(arrays[key]) for key, shape in self.input_shapes.items() if shape and shape[0] is None
        }
        if len(set(rows.values())) > 1 or 0 in rows.values():
            raise UserError(f"all inputs have one value a row, and at least one row; got lengths {rows}.")
        return arrays


def find_signature(signatures: Mapping[str, Signature], name: str, path: str) -> Signature:
    """The signature of that name of the model at `path`.

    Raises:
        UserError: it has none; says which it has.
    """
    if name not in signatures:
        raise UserError(f"{path!r} has no signature {name!r}. It has: {', '.join(signatures)}.")
    return signatures[name]


def to_array(name: str, values: Any, dtype: str, shape: Shape = (None,)) -> np.ndarray:
    """The values of one input as an array of the dtype and shape that the signature takes.

    >>> to_array("text", ["你"], "string"), to_array("top_k", [40], "int32")
    (array([b'\\xe4\\xbd\\xa0'], dtype=object), array([40], dtype=int32))
    >>> to_array("choices", [["yes", "no"], ["maybe", ""]], "string", (None, None)).shape
    (2, 2)

    Raises:
        UserError: not a list, a value that does not fit the dtype, or another shape.
    """
    if shape == (None,) and (isinstance(values, str | bytes) or not hasattr(values, "__len__")):
        raise UserError(f"input {name!r} is a list with one value a row; got {values!r}.")
    read = _string_array if dtype == "string" else _number_array
    array = read(name, values, dtype, shape)
    declared = array.shape if shape is None else shape
    if len(array.shape) != len(declared) or any(
        size not in (None, actual) for size, actual in zip(declared, array.shape, strict=True)
    ):
        raise UserError(
            f"input {name!r} takes {dtype} {shape_text(shape)}; got the shape {list(array.shape)}."
        )
    return array


def shape_text(shape: Shape) -> str:
    """`(None, 12, 64)` as "[any, 12, 64]"."""
    if shape is None:
        return "of any shape"
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy type of a dtype name; strings are objects, bfloat16 comes from ml_dtypes."""
    if dtype == "string":
        return np.dtype(object)
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


def _number_array(name: str, values: Any, dtype: str, shape: Shape) -> np.ndarray:
    kinds = _KINDS.get("float" if dtype == "bfloat16" else dtype.rstrip("0123456789"))
    if kinds is None:
        raise UserError(f"input {name!r} takes {dtype}, which tflm cannot send.")
    target = numpy_dtype(dtype)
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal lengths inside
        array = np.empty(0, object)
    if array.dtype != object and not array.size:
        array = array.astype(target)
    fits = array.dtype == target or array.dtype.kind in kinds
    if fits and shape is not None and len(shape) == 1:
        fits = array.ndim == 1
    if fits and target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    if not fits:
        form = "one value a row" if shape == (None,) else f"shape {shape_text(shape)}"
        raise UserError(f"input {name!r} takes {dtype}, {form}; got {_short(values)}.")
    return array.astype(target)


def _string_array(name: str, values: Any, dtype: str, shape: Shape) -> np.ndarray:
    """Lists as deep as the declared shape, each of a depth equally long, as an object array of bytes."""
    rank = len(shape) if shape is not None else _depth(values)
    sizes: list[int] = []
    level: list[Any] = [values]
    for axis in range(rank):
        if any(isinstance(item, str | bytes) or not hasattr(item, "__len__") for item in level):
            raise UserError(f"input {name!r} takes {dtype} {shape_text(shape)}; got {_short(values)}.")
        lengths = sorted({len(item) for item in level})
        if len(lengths) > 1:
            raise UserError(
                f"input {name!r} takes {dtype} {shape_text(shape)}; the lists along axis {axis} have "
                f'{lengths[0]} to {lengths[-1]} values. Make them equally long, with "" at the end.'
            )
        sizes.append(lengths[0] if lengths else 0)
        level = [value for item in level for value in item]
    array = np.empty(len(level), object)
    for index, value in enumerate(level):
        if not isinstance(value, str | bytes):
            place = f"row {index}" if rank == 1 else f"value {index}"
            raise UserError(f"input {name!r} takes strings; {place} is {value!r}.")
        # A lone surrogate has no UTF-8; passed on as it is, the model's tokenizer replaces it by U+FFFD.
        array[index] = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return array.reshape(sizes)


def _depth(values: Any) -> int:
    depth = 0
    while not isinstance(values, str | bytes) and hasattr(values, "__len__") and len(values):
        values, depth = values[0], depth + 1
    return depth


def _short(values: Any) -> str:
    text = repr(values.tolist() if isinstance(values, np.ndarray) else values)
    return text if len(text) <= 200 else text[:200] + " ..."
