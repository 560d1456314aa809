"""The same exports called in this process, one request after another: what a server adds is the difference.

    python in_process.py FOLDER SECONDS

For each FOLDER/requests_SIGNATURE.json, `{"model": ..., "signature": ..., "requests": [{...}, ...]}`, by
`tflm.serving.LocalModel` ("local") and by the `GraphSession` that the server runs ("session"). Prints one line of JSON:
"SIGNATURE, in process, KIND" to what `load.py` prints.
"""

import itertools
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def measure(run: Callable[[Any], Any], requests: Sequence[Any], seconds: float) -> dict[str, Any]:
    """`latencies`, `seconds`, `cpu_seconds` and no `refusals`; a few runs before the clock starts are not counted."""
    each = itertools.cycle(requests)
    for _ in range(3):
        run(next(each))
    latencies: list[float] = []
    begin, processor = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run(next(each))
        latencies.append(time.perf_counter() - start)
    spent = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - processor}
    return {"latencies": latencies, "refusals": 0, **spent}


def measure_all(folder: str, seconds: float) -> dict[str, dict[str, Any]]:
    """Every model in both ways."""
    from tflm.serving.graph_session import GraphSession
    from tflm.serving.local import LocalModel

    found = {}
    for path in sorted(pathlib.Path(folder).glob("requests_*.json")):
        asked = json.loads(path.read_text(encoding="utf-8"))
        name, model = asked["signature"], LocalModel(f"{folder}/{asked['model']}")
        session, declared = GraphSession(model.path), model.signatures[name]
        ways: dict[str, Callable[[Any], Any]] = {
            "local": lambda request, name=name, model=model: model.predict(name, request),
            "session": lambda request, name=name, session=session, declared=declared: session.run(
                name, declared.arrays(name, request)
            ),
        }
        for kind, run in ways.items():
            found[f"{name}, in process, {kind}"] = measure(run, asked["requests"], seconds)
    return found


if __name__ == "__main__":
    print(json.dumps(measure_all(sys.argv[1], float(sys.argv[2]))))
