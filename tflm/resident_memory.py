"""The memory that a model takes, in a process of its own: by `python -m tflm.resident_memory`."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import tflm
from tflm.errors import UserError


def memory_of(
    path: str, signature: str, columns: Mapping[str, Any], checkpoint: str = "newest"
) -> int | None:
    """Bytes by which the resident memory of a fresh process grows when it loads a model and answers one batch;
    TensorFlow is imported before. None where the system does not tell.

    Args:
        path: of a run or of an export.
        signature: name of the one that answers.
        columns: inputs by name, N values each.
        checkpoint: of a run.
    Raises:
        UserError: the process failed.
    """
    if not os.path.exists("/proc/self/statm"):
        return None
    request = {"path": path, "signature": signature, "columns": columns, "checkpoint": checkpoint}
    root = os.path.dirname(os.path.dirname(os.path.abspath(tflm.__file__)))
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "tflm.resident_memory"],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"the memory of {path!r} could not be measured: {lines[-1]}")
    return int(done.stdout.split()[-1])


def growth(request: Mapping[str, Any]) -> int:
    """Of this process, in bytes, while the model is loaded and answers."""
    import tensorflow as tf

    from tflm.experiments.measured import measured_run
    from tflm.experiments.run import Run
    from tflm.experiments.run_folder import is_run
    from tflm.export import load_text_ops
    from tflm.serving import connect

    importlib.import_module("tflm.serving.runtime.local")
    load_text_ops()  # libraries are no part of a model: all are loaded before
    tf.linalg.matmul(tf.ones((64, 64)), tf.ones((64, 64)))
    before, path, name = _resident(), request["path"], request["signature"]
    if is_run(path):
        measured_run(Run.open(path), request["checkpoint"]).find_fn(name)(request["columns"])
    else:
        connect(path).predict(name, request["columns"])
    return _resident() - before


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(growth(json.load(sys.stdin)))
