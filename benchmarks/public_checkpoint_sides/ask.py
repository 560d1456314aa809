"""What every side does: asks each question twice, and prints times, texts and the memory as a line of JSON."""

import json
import time
from collections.abc import Callable
from typing import Any

Answer = Callable[[str, int], tuple[str, int]]
"""A question and a number of tokens to the answer, of at most that number, and its own number of tokens."""


def ask(answer: Answer, task: dict[str, Any], begin: float, peak_bytes: Callable[[], int]) -> None:
    """Measures one side.

    Args:
        answer: the model, loaded.
        task: `questions` and `max_new_tokens`.
        begin: `time.perf_counter()` before the model was loaded.
        peak_bytes: the largest resident set of the process that has the model.
    """
    answer(task["questions"][0], 2)  # what is traced or allocated at the first request
    found: dict[str, Any] = {"load": time.perf_counter() - begin, "answers": []}
    for question in task["questions"]:
        started = time.perf_counter()
        answer(question, 1)
        first = time.perf_counter() - started
        started = time.perf_counter()
        text, num_tokens = answer(question, task["max_new_tokens"])
        seconds = time.perf_counter() - started
        found["answers"].append({"text": text, "num_tokens": num_tokens, "first": first, "all": seconds})
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


def peak_bytes_of(pid: int | str = "self") -> int:
    """The largest resident set of a process that still runs."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
