"""Weights of an export in 8 or 4 bits (post-training quantization, round to nearest, no calibration).

    quantized = quantized_weights(model, "int8")
    assign_rounded(quantized)             the model in float32 with the values of the quantized weights
    replace_weights(quantized)            the model with `Int8Matrix` and `Int4Matrix` in place of float32 variables

int8: a scale for each output channel, symmetric. int4: a scale and a center for each group of up to 64 inputs of an
output channel; the embedding and the output layer, whose channels are single tokens, stay in int8. Norms, biases,
positions and a task's own head stay in float32.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import ml_dtypes
import numpy as np

from tflm.export.stored_matrix import StoredMatrix, dequantize, pack_codes
from tflm.layers.quantized import BLOCK, Int4Matrix, Int8Matrix, padded_columns

SCHEMES = ("int8", "int4")
_SCHEME_TEXTS = {
    "int8": "int8: a scale for each output channel, symmetric, rounded to nearest",
    "int4": "int4: a scale and a center for each group of up to 64 inputs of an output channel, rounded to nearest",
}
_GROUP = 64
_LEAST_GROUP = 8
_ROWS_AT_ONCE = 4096


def quantize_int8(rows: np.ndarray) -> StoredMatrix:
    """An `Int8Matrix` of the transpose. No value changes by more than half its scale.

    >>> quantize_int8(np.array([[-1.0, 0.5, 0.26]], np.float32))
    StoredMatrix(codes=[[-127, 64, 33]], scales=[0.00787])

    Args:
        rows: float32 [E, D].
    """
    parts = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    largest = np.concatenate([np.abs(part).max(axis=1) for part in parts])
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.zeros((padded_columns(rows.shape[1], len(rows)), rows.shape[1]), np.int8)
    for start, part in zip(range(0, len(rows), _ROWS_AT_ONCE), parts, strict=True):
        steps = scales[start : start + len(part), None]
        codes[start : start + len(part)] = np.clip(np.rint(part / steps), -127, 127)
    return StoredMatrix(codes, scales)


def quantize_int4(rows: np.ndarray, group: int) -> StoredMatrix:
    """An `Int4Matrix` of the transpose. Sixteen levels, each with half a step around it, cover the values of a group
    from the least to the largest, so that no value changes by more than half its scale.

    Args:
        rows: float32 [E, D].
        group: int, inputs of a group; divides D / 2.
    """
    groups = rows.reshape(len(rows), -1, group)
    least, largest = groups.min(axis=2), groups.max(axis=2)
    centers = (least + np.float32(8.5 / 16) * (largest - least)).astype(ml_dtypes.bfloat16)
    middle = centers.astype(np.float32)
    scales = _rounded_up(np.maximum((largest - middle) / np.float32(7.5), (middle - least) / np.float32(8.5)))
    steps = scales.astype(np.float32)[..., None]
    codes = np.clip(np.rint((groups - middle[..., None]) / steps) + 8, 0, 15).astype(np.uint8)
    return StoredMatrix(*map(_in_blocks, (pack_codes(codes.reshape(rows.shape)), scales, centers)))


def group_size(width: int) -> int:
    """The largest group of at most 64 inputs that divides half of a width; 0 where it has less than 8."""
    if width % 2:
        return 0
    size = next(size for size in range(_GROUP, 0, -1) if width // 2 % size == 0)
    return size if size >= _LEAST_GROUP else 0


def _rounded_up(scales: np.ndarray) -> np.ndarray:
    """bfloat16, not below `scales`; 1 for 0."""
    nearest = np.where(scales > 0, scales, 1).astype(ml_dtypes.bfloat16)
    above = np.nextafter(nearest, np.array(np.inf, ml_dtypes.bfloat16))
    return np.where(nearest.astype(np.float32) < scales, above, nearest)


def _in_blocks(rows: np.ndarray) -> np.ndarray:
    """[blocks, width, columns] of rows [E, width]; the last block is filled with zeros."""
    block = min(BLOCK, len(rows))
    padded = np.pad(rows, [(0, -len(rows) % block), (0, 0)])
    return np.ascontiguousarray(np.swapaxes(padded.reshape(-1, block, rows.shape[1]), 1, 2))


class QuantizedWeight(NamedTuple):
    """A matrix of a model and its quantized form."""

    layer: keras.layers.Layer
    attribute: str
    """Of the layer."""
    path: str
    """Of the variable."""
    shape: tuple[int, int]
    """Of the variable."""
    is_table: bool
    """Whether it is the table of an embedding, the transpose of `stored`."""
    stored: StoredMatrix
    relative_error: float
    """Euclidean norm of the rounding errors, divided by that of the weights."""

    def values(self) -> np.ndarray:
        """float32, of the shape of the variable."""
        rows = dequantize(self.stored)
        return rows if self.is_table else rows.T


def quantized_weights(model: Any, scheme: str, embedding: bool = True) -> list[QuantizedWeight]:
    """The matrices of a model, quantized: of attention, feed-forward networks and LSTM layers, and, with `embedding`,
    the token embedding and the output layer. The model keeps its own weights.

    Args:
        model: in float32, built, without adapters.
        scheme: one of `SCHEMES`.
        embedding: whether the embedding and the output layer are quantized, in 8 bits in both schemes.
    """
    found = []
    output_layer = getattr(getattr(model, "body", model), "head", None)
    for layer, attribute, is_table in _matrices(model):
        is_embedding = is_table or layer is output_layer
        variable = getattr(layer, attribute)
        if (
            is_embedding and not embedding
        ) or not variable.trainable:  # of an output layer that the task does not use
            continue
        values = np.asarray(variable, np.float32)
        rows = np.ascontiguousarray(values if is_table else values.T)
        group = 0 if is_embedding or scheme == "int8" else group_size(rows.shape[1])
        stored = quantize_int4(rows, group) if group else quantize_int8(rows)
        norm = float(np.linalg.norm(rows)) or 1.0
        error = float(np.linalg.norm(dequantize(stored) - rows)) / norm
        found.append(QuantizedWeight(layer, attribute, variable.path, values.shape, is_table, stored, error))
    return found


def assign_rounded(weights: Sequence[QuantizedWeight]) -> None:
    """Gives the variables the values that their quantized forms stand for."""
    for weight in weights:
        getattr(weight.layer, weight.attribute).assign(weight.values())


def replace_weights(weights: Sequence[QuantizedWeight]) -> None:
    """Puts quantized matrices in the place of variables. Functions that were traced before keep the variables."""
    for weight in weights:
        width, num_columns = reversed(weight.shape) if weight.is_table else weight.shape
        *scopes, name = weight.path.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            matrix: Int8Matrix | Int4Matrix
            if weight.stored.centers is None:
                matrix = Int8Matrix(width, num_columns, name=name)
            else:
                group = width // weight.stored.scales.shape[1]
                matrix = Int4Matrix(width, num_columns, group, name=name)
        values = [value for value in weight.stored if value is not None]
        for variable, value in zip(matrix.weights, values, strict=True):
            variable.assign(value)
        layer = weight.layer
        layer._untrack_variable(
            getattr(layer, weight.attribute)
        )  # `delattr` also collects garbage, each time
        layer._tracker.unlock()  # a built layer takes no new parts
        setattr(layer, weight.attribute, matrix)
        layer._tracker.lock()


def describe_weights(weights: Sequence[QuantizedWeight], scheme: str, num_parameters: int) -> dict[str, Any]:
    """The section "Weights" of a model card: the scheme, bytes before and after, and the largest errors.

    Args:
        weights: from `quantized_weights`.
        scheme: one of `SCHEMES`.
        num_parameters: of the model.
    """
    made: dict[str, Any] = {"scheme": _SCHEME_TEXTS[scheme]}
    for bits in (8, 4):
        of_bits = [weight for weight in weights if (weight.stored.centers is None) == (bits == 8)]
        if of_bits:
            worst = max(of_bits, key=lambda weight: weight.relative_error)
            made[f"matrices in {bits} bits"] = (
                f"{len(of_bits)}; largest relative error {worst.relative_error:.2%}, of `{worst.path}` (norm of the "
                "rounding errors divided by that of the weights)"
            )
    before = sum(4 * weight.shape[0] * weight.shape[1] for weight in weights)
    after = sum(array.nbytes for weight in weights for array in weight.stored if array is not None)
    total = 4 * num_parameters
    made["bytes of these matrices"] = f"{after:,}; in float32 {before:,}"
    made["bytes of all weights"] = f"{total - before + after:,}; in float32 {total:,}"
    made["verified against"] = "a model in float32 with the values of the quantized weights"
    return made


def _matrices(model: Any) -> Iterator[tuple[keras.layers.Layer, str, bool]]:
    """Layers, their attributes with a matrix, and whether it is the table of an embedding."""
    for layer in model._flatten_layers():
        for attribute in getattr(layer, "matrices", ()):
            yield layer, attribute, False
        for attribute in getattr(layer, "row_matrices", ()):
            yield layer, attribute, True
