"""Verification of an export: its outputs in a fresh process equal those of the functions in memory."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.export import verify_child
from tflm.export.audit import text_ops_in
from tflm.export.signatures import input_specs
from tflm.export.text_ops import text_op_libraries

Arrays = Mapping[str, np.ndarray]
Batches = Mapping[str, Sequence[Arrays]]

RELATIVE_TOLERANCE = 1e-4  # another process may partition reductions differently, which changes rounding
ABSOLUTE_TOLERANCE = 1e-6
ROW_TOLERANCE = 1e-5  # relative to the largest value in a row
_BLOCKED = ("tflm", "apps", "keras", "keras_nlp", "keras_hub", "tf_keras", "tensorflow_text")
_OPTIONS_BEFORE: list[dict[str, Any]] = []  # of the graph optimizer, once for each context of `as_written`
_OPTIONS_LOCK = threading.Lock()


class ExportError(UserError):
    """The exported model does not load, or its outputs differ from those in memory."""


def verify_export(path: str, requests: Batches, expected: Batches) -> None:
    """Loads an export in a fresh process and compares its outputs.

    The process cannot import tflm, Keras, keras-nlp, keras-hub or tensorflow-text. The ops of tensorflow-text are
    registered only if the graph uses them, so this also verifies that a core-only export loads without them. Strings,
    integers and booleans must be equal; floats may differ by a relative 1e-4, or by 1e-5 of the largest value in the
    row.

    Args:
        path: a SavedModel folder.
        requests: requests of each signature, each a dict of input name to array `[B, ...]`.
        expected: for each request, a dict of output name to array.
    Raises:
        ExportError: the export does not load, or outputs differ; the message has the signature, the row and both
            values.
    """
    answers = _answers_of_fresh_process(path, requests)
    for signature, batches in expected.items():
        for index, outputs in enumerate(batches):
            got = answers[signature][index]
            if sorted(got) != sorted(outputs):
                raise ExportError(
                    f"signature {signature!r} gives {sorted(got)}; in memory it gave {sorted(outputs)}."
                )
            for name, array in outputs.items():
                difference = describe_difference(array, got[name])
                if difference:
                    raise ExportError(
                        f"signature {signature!r}, request {index}, output {name!r}: {difference} A function "
                        "that depends on time, unseeded randomness or a Python value cannot be exported."
                    )


def arrays_of_requests(
    signatures: Mapping[str, Any], requests: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Converts requests of Python lists to arrays with the dtypes of the signatures.

    Raises:
        UserError: a signature without requests (which would not be verified), a request without a signature, or inputs
            with wrong names, values or lengths.
    """
    if sorted(signatures) != sorted(name for name in requests if requests[name]):
        raise UserError(
            f"signatures {sorted(signatures)} need a request each; got requests for {sorted(requests)}."
        )
    arrays: dict[str, list[dict[str, np.ndarray]]] = {}
    for signature, function in signatures.items():
        specs = input_specs(signature, function)
        arrays[signature] = []
        for inputs in requests[signature]:
            if sorted(inputs) != sorted(specs):
                raise UserError(
                    f"signature {signature!r} takes {sorted(specs)}; the request has {sorted(inputs)}."
                )
            try:
                tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()}
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"signature {signature!r}: the request {dict(inputs)!r} does not fit: {error}."
                ) from error
            if len({tensor.shape[0] for tensor in tensors.values()}) != 1:
                raise UserError(
                    f"signature {signature!r}: inputs of a request have unequal lengths: {dict(inputs)!r}."
                )
            arrays[signature].append({name: tensor.numpy() for name, tensor in tensors.items()})
    return arrays


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """A context without TensorFlow's graph optimizer, which takes longer than the few tokens of a request. The setting
    is of the process: it lasts as long as any thread is in such a context."""
    with _OPTIONS_LOCK:
        if not _OPTIONS_BEFORE:
            before = {"disable_meta_optimizer": False, **tf.config.optimizer.get_experimental_options()}
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        else:
            before = _OPTIONS_BEFORE[0]
        _OPTIONS_BEFORE.append(before)
    try:
        yield
    finally:
        with _OPTIONS_LOCK:
            _OPTIONS_BEFORE.pop()
            if not _OPTIONS_BEFORE:
                tf.config.optimizer.set_experimental_options(before)


@as_written()
def answers_in_memory(
    signatures: Mapping[str, Any], requests: Batches
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Outputs of the signature functions in memory.

    Raises:
        UserError: an output has a different number of rows than the request.
    """
    answers: dict[str, list[dict[str, np.ndarray]]] = {}
    for signature, function in signatures.items():
        names = input_specs(signature, function)
        answers[signature] = []
        for inputs in requests[signature]:
            outputs = function(*(tf.constant(inputs[name]) for name in names))
            arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
            num_rows = len(next(iter(inputs.values())))
            for name, array in arrays.items():
                if array.shape[0] != num_rows:
                    raise UserError(
                        f"signature {signature!r}: output {name!r} has {array.shape[0]} rows for {num_rows} "
                        "inputs; the batch comes first in every output."
                    )
            answers[signature].append(arrays)
    return answers


def describe_difference(expected: np.ndarray, got: np.ndarray) -> str:
    """A description of the first row that differs; "" if all are equal within tolerance."""
    if expected.dtype != got.dtype or expected.shape != got.shape:
        return f"expected {expected.dtype} of shape {expected.shape}, got {got.dtype} of shape {got.shape}."
    if expected.dtype.kind in "OSUbiu":
        same = expected == got
    else:
        floats = expected.astype(np.float64)
        # The rounding error of a sum is relative to its largest terms; a generation state has many such values.
        finite = np.where(np.isfinite(floats), np.abs(floats), 0.0)
        size = finite.max(axis=tuple(range(1, floats.ndim)), keepdims=True, initial=0.0)
        tolerance = np.maximum(ABSOLUTE_TOLERANCE, ROW_TOLERANCE * size)
        same = np.isclose(got.astype(np.float64), floats, RELATIVE_TOLERANCE, tolerance, equal_nan=True)
    if same.all():
        return ""
    row = int(np.argwhere(~same)[0][0])
    return f"row {row} differs: expected {_shown(expected[row])}, got {_shown(got[row])}."


def _shown(value: Any) -> str:
    return repr(value.decode("utf-8", "backslashreplace")) if isinstance(value, bytes) else str(value)


def child_task(path: str, requests: Batches) -> dict[str, Any]:
    """The task of `verify_child.py`, as JSON values."""
    return {
        "path": path,
        "sys_path": sys.path,
        "blocked": _BLOCKED,
        "op_libraries": text_op_libraries() if text_ops_in(path) else [],
        "requests": {
            signature: [
                {name: verify_child.encode(array) for name, array in inputs.items()} for inputs in batches
            ]
            for signature, batches in requests.items()
        },
    }


def _answers_of_fresh_process(path: str, requests: Batches) -> dict[str, list[dict[str, np.ndarray]]]:
    with tempfile.TemporaryDirectory() as folder:
        task_path, answers_path = os.path.join(folder, "task.json"), os.path.join(folder, "answers.json")
        with open(task_path, "w", encoding="utf-8") as file:
            json.dump(child_task(path, requests), file)
        done = _run_child(task_path, answers_path)
        if done.returncode:
            last_lines = "\n".join(done.stderr.strip().splitlines()[-8:])
            raise ExportError(
                f"{path!r} does not load or run in a fresh process (exit {done.returncode}):\n{last_lines}"
            )
        with open(answers_path, encoding="utf-8") as file:
            answers = json.load(file)
    return {
        signature: [
            {name: verify_child.decode(value) for name, value in outputs.items()}
            for outputs in answers[signature]
        ]
        for signature in answers
    }


def _run_child(task_path: str, answers_path: str) -> subprocess.CompletedProcess[str]:
    # On the CPU, where stock servers run: this process may have allocated all GPU memory.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-I", verify_child.__file__, task_path, answers_path]
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
