"""Script for a fresh process: loads a SavedModel, runs requests and writes the outputs. Does not import tflm.

    python -I verify_child.py TASK.json ANSWERS.json

TASK.json has `path` (the SavedModel), `sys_path`, `blocked` (packages that must not be importable), `op_libraries`
(shared libraries to load first) and `requests` (signature to list of encoded inputs). ANSWERS.json is a map of
signature to list of encoded outputs. An encoded array is `{"dtype", "shape", "values"}`, with bytes in base64.
"""

import base64
import json
import sys
from typing import Any


def encode(array: Any) -> dict[str, Any]:
    """A NumPy array as JSON values.

    >>> encode(np.array([b"hi"], object))
    {'dtype': 'string', 'shape': [1], 'values': ['aGk=']}
    """
    flat = array.reshape(-1)
    if array.dtype == object:
        values = [base64.b64encode(item).decode("ascii") for item in flat]
        return {"dtype": "string", "shape": list(array.shape), "values": values}
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": flat.tolist()}


def decode(encoded: dict[str, Any]) -> Any:
    """The inverse of `encode`."""
    import numpy as np  # not at module level: `main` sets sys.path first

    if encoded["dtype"] != "string":
        return np.array(encoded["values"], encoded["dtype"]).reshape(encoded["shape"])
    flat = np.empty(len(encoded["values"]), object)
    flat[:] = [base64.b64decode(item) for item in encoded["values"]]
    return flat.reshape(encoded["shape"])


def main(task_path: str, answers_path: str) -> None:
    """Runs the task in this process."""
    with open(task_path, encoding="utf-8") as file:
        task = json.load(file)
    sys.path[:] = task["sys_path"]
    for name in task["blocked"]:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` fail
    import tensorflow as tf

    # Without graph optimization, which would take most of the time here.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for library in task["op_libraries"]:
        tf.load_op_library(library)
    loaded = tf.saved_model.load(task["path"])
    answers: dict[str, list[dict[str, Any]]] = {}
    for signature, requests in task["requests"].items():
        answers[signature] = []
        for inputs in requests:
            tensors = {name: tf.constant(decode(value)) for name, value in inputs.items()}
            outputs = loaded.signatures[signature](**tensors)
            answers[signature].append({name: encode(value.numpy()) for name, value in outputs.items()})
    with open(answers_path, "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
