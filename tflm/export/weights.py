"""The weights of an export by variable path, to initialize another run from an export.

`assets.extra/weights.json` maps the path of a variable in the Keras model to its key in the variables checkpoint of the
SavedModel, so that the values are stored once.
"""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.export.stored_matrix import StoredMatrix, dequantize

WEIGHTS_FILE = os.path.join("assets.extra", "weights.json")


def write_weight_names(path: str, module: tf.Module, tracked: Iterable[Any]) -> None:
    """Writes `assets.extra/weights.json` to an export.

        {"lstm_language_model/lstm_0/kernel": "weights/1/.ATTRIBUTES/VARIABLE_VALUE", ...}

    Args:
        path: the SavedModel folder.
        module: the saved module, from `module_to_save`.
        tracked: the objects that own the variables; Keras variables have paths.
    """
    places = {id(variable): index for index, variable in enumerate(module.weights)}
    names = {
        variable.path: f"weights/{places[id(variable.value)]}/.ATTRIBUTES/VARIABLE_VALUE"
        for variable in _keras_variables(tracked)
        if id(variable.value) in places
    }
    os.makedirs(os.path.join(path, os.path.dirname(WEIGHTS_FILE)), exist_ok=True)
    with open(os.path.join(path, WEIGHTS_FILE), "w", encoding="utf-8") as file:
        json.dump(names, file, indent=2)
        file.write("\n")


def read_weights(path: str) -> dict[str, np.ndarray]:
    """Reads the weights of an export by their path in the Keras model; quantized ones as float32.

    Raises:
        UserError: `weights.json` is missing, or does not match the variables.
    """
    try:
        with open(os.path.join(path, WEIGHTS_FILE), encoding="utf-8") as file:
            names = dict(json.load(file))
        reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
        return _dequantized({variable: reader.get_tensor(name) for variable, name in names.items()})
    except (OSError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot read the weights of {path!r} by their names ({error}). If it was exported by an older tflm, "
            "export its run again."
        ) from error


def _dequantized(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights, with `PATH/codes`, `PATH/scales` and `PATH/centers` of a `QuantizedMatrix` as one matrix `PATH`."""
    found = {}
    for path, value in weights.items():
        matrix, _, part = path.rpartition("/")
        if f"{matrix}/codes" not in weights:
            found[path] = value
        elif part == "codes":
            stored = StoredMatrix(value, weights[f"{matrix}/scales"], weights.get(f"{matrix}/centers"))
            rows = dequantize(stored)
            found[matrix] = rows if matrix.endswith("/embeddings") else rows.T
    return found


def _keras_variables(tracked: Iterable[Any]) -> Iterator[Any]:
    for root in tracked:
        yield from (variable for variable in getattr(root, "variables", ()) if hasattr(variable, "path"))
