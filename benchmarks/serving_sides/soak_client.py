"""One client of the soak: asks in every way that there is, compares every answer, and tells what it met.

    python soak_client.py '{"rest": 8501, "grpc": 8500, "seed": 3, "cases": "cases.json", "ways": ["generate rest"]}'

Prints a line of JSON for each answer, until its input is closed. No TensorFlow here, as in any client.
"""

import collections
import http.client
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tflm.serving.client.grpc import GrpcModel
from tflm.serving.client.remote import ServerError
from tflm.serving.client.rest import RestModel
from tflm.serving.stream import stream

WAYS = (
    "classify rest", "classify grpc", "generate rest", "generate grpc", "stream rest", "stream grpc", "events",
)  # fmt: skip
"""What a client does; "events" is `POST :stream`."""
_MOST_ATTEMPTS = 200
_PAUSE = 0.05


class Client:
    """Asks one server for the two models."""

    def __init__(self, rest: int, grpc: int) -> None:
        self._rest = rest
        url = f"http://127.0.0.1:{rest}/v1/models/"
        self._models = {
            (name, protocol): kind(address + name, retries=0)
            for name in ("writer", "sorter")
            for protocol, kind, address in (
                ("rest", RestModel, url),
                ("grpc", GrpcModel, f"grpc://127.0.0.1:{grpc}/"),
            )
        }

    def ask(self, way: str, case: dict[str, Any]) -> str:
        """The text of an answer, or the label and scores."""
        kind, _, protocol = way.partition(" ")
        if kind == "events":
            return self._events(case["request"])
        model = self._models["sorter" if kind == "classify" else "writer", protocol]
        if kind == "stream":
            pieces = [outputs["piece"][0] for outputs in stream(model, case["request"])]
            return b"".join(pieces).decode("utf-8")
        outputs = model.predict(kind, case["request"])
        if kind == "generate":
            return outputs["text"][0].decode("utf-8")
        return f"{outputs['label'][0].decode('utf-8')} {max(outputs['scores'][0]):.3f}"

    def _events(self, request: dict[str, Any]) -> str:
        body = json.dumps({"inputs": request}).encode("utf-8")
        connection = http.client.HTTPConnection("127.0.0.1", self._rest, timeout=60)
        try:
            connection.request("POST", "/v1/models/writer:stream", body)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise ServerError(f"HTTP {response.status}: {response.read()[:300]!r}")
            return _joined(response.read().decode("utf-8"))
        finally:
            connection.close()


def _joined(events: str) -> str:
    """The pieces of a stream that came to its end."""
    if not events.rstrip().endswith("event: end\ndata: {}"):
        raise ServerError(f"a stream without an end: {events[-200:]!r}")
    records = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
    return "".join(record.get("piece", "") for record in records)


def attempt(ask: Callable[[], str], expected: str) -> dict[str, Any]:
    """Asks until there is room; whether the answer came and was right."""
    begin, refusals = time.perf_counter(), 0
    while True:
        try:
            found = ask()
        except Exception as error:  # any end without an answer is lost, and reported
            if is_full(error) and refusals < _MOST_ATTEMPTS:
                refusals += 1
                time.sleep(_PAUSE)
                continue
            return {"outcome": "lost", "why": f"{type(error).__name__}: {error}"[:500], "refusals": refusals}
        seconds = time.perf_counter() - begin
        if found == expected:
            return {"outcome": "right", "seconds": seconds, "refusals": refusals}
        return {"outcome": "wrong", "why": f"{found!r} for {expected!r}", "refusals": refusals}


def is_full(error: Exception) -> bool:
    """Whether the server said that its queue is full: it has done nothing, and may be asked again."""
    words = str(error)
    return "queue" in words and ("503" in words or "UNAVAILABLE" in words) and "connection lost" not in words


def main(settings: dict[str, Any]) -> None:
    """Asks until standard input ends, and at least once in each way."""
    with open(settings["cases"], encoding="utf-8") as file:
        cases = json.load(file)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    draw = random.Random(settings["seed"])
    client = Client(settings["rest"], settings["grpc"])
    asked: collections.Counter[str] = collections.Counter()
    ways = draw.sample(settings["ways"], len(settings["ways"]))
    while not ended.is_set() or asked.total() < len(ways):
        way = ways[asked.total()] if asked.total() < len(ways) else draw.choice(ways)
        case = draw.choice(cases["sorter" if way.startswith("classify") else "writer"])
        begin = {"way": way, "begun": asked.total()}
        print(json.dumps(begin), flush=True)
        asked[way] += 1
        found = attempt(lambda way=way, case=case: client.ask(way, case), case["expected"])
        print(json.dumps({"way": way, **found}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
