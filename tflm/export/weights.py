"""The weights of an export under the names that they had in the model, so that another run can begin with them.

`assets.extra/weights.json` maps a variable's path in the Keras model to its name in the SavedModel's own variables
checkpoint, which holds the values: there is no second copy.
"""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.errors import UserError

WEIGHTS_FILE = os.path.join("assets.extra", "weights.json")


def write_weight_names(path: str, module: tf.Module, tracked: Iterable[Any]) -> None:
    """Writes `assets.extra/weights.json` into an export.

        {"lstm_language_model/lstm_0/kernel": "weights/1/.ATTRIBUTES/VARIABLE_VALUE", ...}

    Args:
        path: the SavedModel folder.
        module: what was saved, from `module_to_save`.
        tracked: the objects that own the variables; those of Keras have paths.
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
    """Path in the Keras model to value, for the weights of an export.

    Raises:
        UserError: there is no list of names, or it does not fit the variables.
    """
    try:
        with open(os.path.join(path, WEIGHTS_FILE), encoding="utf-8") as file:
            names = dict(json.load(file))
        reader = tf.train.load_checkpoint(os.path.join(path, "variables", "variables"))
        return {variable: reader.get_tensor(name) for variable, name in names.items()}
    except (OSError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot read the weights of {path!r} by their names ({error}). If it was exported by an older tflm, "
            "export its run again."
        ) from error


def _keras_variables(tracked: Iterable[Any]) -> Iterator[Any]:
    for root in tracked:
        yield from (variable for variable in getattr(root, "variables", ()) if hasattr(variable, "path"))
