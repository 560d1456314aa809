"""An export behind TensorFlow Serving's REST interface, in a server process.

python rest_side.py EXPORT PRECISION TASK
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "serving_sides"))

from ask import ask, peak_bytes_of
from server_process import ServerProcess

import tflm


def main(path: str, precision: str, task_text: str) -> None:
    """Starts the server, asks, and stops it. The export has its precision already."""
    del precision
    task, begin = json.loads(task_text), time.perf_counter()
    with ServerProcess("--model_name=model", f"--model_base_path={os.path.dirname(path)}") as server:
        model = tflm.load(f"http://127.0.0.1:{server.rest_port}/v1/models/model")

        def answer(question: str, max_new_tokens: int) -> tuple[str, int]:
            found = model.chat(question, return_details=True, temperature=0, max_new_tokens=max_new_tokens)
            return found.text, found.num_tokens

        ask(answer, task, begin, lambda: peak_bytes_of(server.process.pid))


if __name__ == "__main__":
    main(*sys.argv[1:])
