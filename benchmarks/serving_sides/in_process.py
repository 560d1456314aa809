"""The same exports called in this process, one request after another: what a server adds is the difference.

    python in_process.py FOLDER

For each FOLDER/requests_SIGNATURE.json, `{"model": ..., "signature": ..., "requests": [{...}, ...]}`, by
`tflm.serving.LocalModel` ("local") and by the `GraphSession` that the server runs ("session"). Loads them, says so by a
line of JSON, the list of all `SIGNATURE, in process, KIND`; then reads lines of one of these and seconds,
`["classify, in process, session", 2.5]`, and answers each by a line of JSON, what `load.py` prints.
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


class InProcess:
    """The models of a folder, loaded once.

    Attributes:
        names: what can be measured.
    """

    def __init__(self, folder: str) -> None:
        from tflm.serving.runtime.graph_session import GraphSession
        from tflm.serving.runtime.local import LocalModel

        self._ways: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {}
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
                self._ways[f"{name}, in process, {kind}"] = run, asked["requests"]
        self.names = list(self._ways)

    def measure(self, name: str, seconds: float) -> dict[str, Any]:
        """See `measure`."""
        return measure(*self._ways[name], seconds)


def main(folder: str) -> None:
    """Until the standard input ends."""
    models = InProcess(folder)
    print(json.dumps(models.names), flush=True)
    for line in sys.stdin:
        print(json.dumps(models.measure(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
