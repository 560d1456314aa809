"""An export through TensorFlow's C API, as a C++ server calls it; the model's process imports no TensorFlow.

python c_api_side.py EXPORT PRECISION TASK
"""

import base64
import json
import os
import subprocess
import sys
import time
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "export"))

from ask import ask, peak_bytes_of  # noqa: E402


def encoded(values: Any) -> Any:
    """Texts in base64, in dicts and lists of any depth."""
    if isinstance(values, dict):
        return {name: encoded(value) for name, value in values.items()}
    if isinstance(values, list):
        return [encoded(value) for value in values]
    return base64.b64encode(values.encode()).decode() if isinstance(values, str) else values


def requests(path: str, questions: list[str], max_new_tokens: list[int]) -> dict[str, Any]:
    """What the process of the model needs: names of the library, inputs and outputs, and a request for each question
    and limit."""
    import tensorflow as tf

    from tflm.export import audit_ops, read_signatures, text_op_libraries
    from tflm.export.signatures import read_meta_graph
    from tflm.generation import DecodingConfig, settings_lists

    names, dtypes = read_meta_graph(path).signature_def["chat"], read_signatures(path)["chat"]
    tasks = {}
    for question in questions:
        for limit in max_new_tokens:
            settings = settings_lists(DecodingConfig(temperature=0.0, max_new_tokens=limit), 1)
            values = encoded({**settings, "roles": [["user"]], "messages": [[question]]})
            tasks[f"{limit} {question}"] = [
                {"tensor": names.inputs[name].name, "dtype": dtypes.inputs[name], "values": values[name]}
                for name in names.inputs
            ]
    return {
        "library": os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"),
        "op_libraries": text_op_libraries() if any(audit_ops(path).values()) else [],
        "path": path,
        "tasks": tasks,
        "outputs": [
            {"tensor": names.outputs[name].name, "dtype": dtypes.outputs[name]}
            for name in ("text", "num_tokens")
        ],
    }


def answer_all(prepared: dict[str, Any], task: dict[str, Any]) -> None:
    """The process of the model."""
    from c_api_runner import Session

    begin = time.perf_counter()
    session = Session(prepared["library"], prepared["op_libraries"], prepared["path"])

    def answer(question: str, max_new_tokens: int) -> tuple[str, int]:
        inputs = prepared["tasks"][f"{max_new_tokens} {question}"]
        text, num_tokens = session.run(inputs, prepared["outputs"])
        return base64.b64decode(text["values"][0]).decode(), num_tokens["values"][0]

    ask(answer, task, begin, peak_bytes_of)


def main(path: str, precision: str, task_text: str) -> None:
    """Prepares the requests here, and starts the process that answers them. The export has its precision already."""
    if path == "-":
        answer_all(json.load(sys.stdin), json.loads(task_text))
        return
    task = json.loads(task_text)
    prepared = requests(path, task["questions"], [1, 2, task["max_new_tokens"]])
    command = [sys.executable, __file__, "-", precision, task_text]
    subprocess.run(command, input=json.dumps(prepared), encoding="utf-8", check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
