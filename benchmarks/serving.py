"""Requests a second and latencies of the server, beside the same graphs in process and `transformers serve`: one run.

    python benchmarks/serving.py
    python benchmarks/serving.py --size=small --torch_python=FOLDER/bin/python
    python benchmarks/serving.py --size=tiny --seconds=1 --clients=1,4       to see that every side runs

Two models of random weights: one classifies a text, one writes 32 tokens, greedily. `apps.serve` runs as a process,
plain and with --enable_batching; the load comes from another (see serving_sides/load.py), with a number of concurrent
clients, each waiting for its answer. "in process" calls the same exports without a server, one request after another;
one client of the plain server takes turns with it, so that what the machine does besides falls on both, and what the
server adds is the median of their differences. --torch_python is an interpreter with torch and `transformers[serving]`;
without it that side is left out. All sides run in turn on the same machine: compare within a run. The load generator's
own limit is measured too ("nothing").
"""

import base64
import dataclasses
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from absl import app, flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks.serving_sides import models  # noqa: E402
from benchmarks.serving_sides.server_process import ServerProcess  # noqa: E402
from benchmarks.serving_sides.serving_table import batching_ratios, joined, row_of, table  # noqa: E402

SIDES = pathlib.Path(ROOT) / "benchmarks" / "serving_sides"
NUM_TOKENS = 32
NUM_TEXTS = 16
WORKS = {"classify": "sorter", "generate": "writer"}
"""Signature to model."""
BATCHING = """max_batch_size {{ value: {size} }}
batch_timeout_micros {{ value: {timeout} }}
max_enqueued_batches {{ value: 64 }}
num_batch_threads {{ value: 2 }}
pad_variable_length_inputs: true
"""
NUM_TURNS = 5
TIMEOUTS = {"classify": 2000, "generate": 20000}
"""Microseconds that a batch waits for more, as `apps.export` writes them beside such models."""
_LONG = "--rest_api_timeout_in_ms=600000"
_PATIENCE = 300.0

Measure = Callable[[float], dict[str, Any]]
"""From seconds to what `load.py` prints."""


def define_flags() -> None:
    """Only where this is the program."""
    flags.DEFINE_enum("size", "medium", list(models.SIZES), "Of the models; small is GPT-2 124M.")
    flags.DEFINE_list("clients", ["1", "4", "16", "64"], "How many at once.")
    flags.DEFINE_float("seconds", 10, "How long each is measured.", 0)
    flags.DEFINE_string("models", None, "Folder with writer/1 and sorter/1; they are made if not given.")
    flags.DEFINE_string("torch_python", None, "Interpreter with torch and transformers[serving].")
    flags.DEFINE_string("output", None, "Also write all that was measured as JSON here.")


def requests_of(work: str) -> list[dict[str, Any]]:
    """Different texts of one length."""
    texts = [f"Request {number:02d}: once upon a time" for number in range(NUM_TEXTS)]
    if work == "classify":
        return [{"text": [text]} for text in texts]
    return [models.generate_request(text, NUM_TOKENS) for text in texts]


def write_payloads(folder: pathlib.Path) -> None:
    """The requests as they cross each wire: WORK.PROTOCOL.json; and as they are: requests_WORK.json."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from tflm.serving.runtime.local import signatures_of

    for work, model in WORKS.items():
        signature = signatures_of(str(folder / model / "1"))[work]
        payloads: dict[str, list[bytes]] = {"rest": [], "grpc": [], "openai": []}
        for request in requests_of(work):
            payloads["rest"].append(json.dumps({"signature_name": work, "inputs": request}).encode())
            message = predict_pb2.PredictRequest()
            message.model_spec.name, message.model_spec.signature_name = model, work
            for name, array in signature.arrays(work, request).items():
                message.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            payloads["grpc"].append(message.SerializeToString())
            prompt = {"prompt": request["text"][0], "max_tokens": NUM_TOKENS, "temperature": 0}
            payloads["openai"].append(json.dumps({"model": str(folder / "torch"), **prompt}).encode())
        for protocol, each in payloads.items():
            texts = [base64.b64encode(payload).decode() for payload in each]
            (folder / f"{work}.{protocol}.json").write_text(json.dumps(texts))
        asked = {"model": model, "signature": work, "requests": requests_of(work)}
        (folder / f"requests_{work}.json").write_text(json.dumps(asked), encoding="utf-8")


def run(program: str, *arguments: str) -> dict[str, Any]:
    """The last line that a side prints, read."""
    command = [sys.executable, str(SIDES / program), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=_environment(), check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


class InProcess:
    """`in_process.py` as a process of its own, which sleeps between two measurements."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SIDES / "in_process.py"), str(folder)],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        self.names: list[str] = self._read()

    def measure(self, name: str, seconds: float) -> dict[str, Any]:
        """One of `names`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, seconds]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("in_process.py ended.")
        return json.loads(line)


class Measurements:
    """Runs loads, and keeps what they found.

    Attributes:
        results: work and side to number of clients (as text) to `row_of`.
        added: work and side to the milliseconds that the server adds to a request of one client.
    """

    def __init__(self, folder: pathlib.Path, clients: list[int], seconds: float) -> None:
        self.results: dict[str, dict[str, dict[str, float]]] = {}
        self.added: dict[str, float] = {}
        self.clients = clients
        self._folder, self._seconds = folder, seconds

    def load(self, name: str, work: str, protocol: str, port: int, path: str = "") -> None:
        """Each number of clients in turn; `protocol` names the payloads, too. What is known already stays."""
        for clients in self.clients:
            if str(clients) not in self.results.get(name, {}):
                self._keep(name, clients, self._load(work, protocol, port, path, clients, self._seconds))

    def one_client(self, work: str, protocol: str, port: int, path: str = "") -> Measure:
        """For `in_turn`."""
        return lambda seconds: self._load(work, protocol, port, path, 1, seconds)

    def in_turn(self, inside: tuple[str, Measure], served: Mapping[str, Measure]) -> None:
        """The same work by one client, `NUM_TURNS` times over: in process, then by each way of the server."""
        ways = {inside[0]: inside[1], **served}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for _ in range(NUM_TURNS):
            for name, measure in ways.items():
                found[name].append(measure(self._seconds / NUM_TURNS))
        for name, turns in found.items():
            self._keep(name, 1, joined(turns))
        for name in served:
            pairs = zip(found[inside[0]], found[name], strict=True)
            self.added[name] = statistics.median(1000 * (_median(b) - _median(a)) for a, b in pairs)

    def _load(
        self, work: str, protocol: str, port: int, path: str, clients: int, seconds: float
    ) -> dict[str, Any]:
        settings = {"protocol": "grpc" if protocol == "grpc" else "rest", "port": port, "path": path}
        settings |= {"payloads": str(self._folder / f"{work}.{protocol}.json"), "clients": clients}
        return run("load.py", json.dumps({**settings, "seconds": seconds}))

    def _keep(self, name: str, clients: int, found: dict[str, Any]) -> None:
        self.results.setdefault(name, {})[str(clients)] = row_of(found)
        print(f"# {name}, {clients}: {self.results[name][str(clients)]}", file=sys.stderr, flush=True)


def _median(found: Mapping[str, Any]) -> float:
    return statistics.median(found["latencies"])


def measure_overhead(measurements: Measurements, folder: pathlib.Path, server: ServerProcess) -> None:
    """One client of the plain server, in turn with the same in process."""
    inside = InProcess(folder)
    for work, model in WORKS.items():
        path = f"/v1/models/{model}:predict"
        served = {
            f"{work}, REST": measurements.one_client(work, "rest", server.rest_port, path),
            f"{work}, gRPC": measurements.one_client(work, "grpc", server.grpc_port),
        }
        local, session = (f"{work}, in process, {kind}" for kind in ("local", "session"))
        served[local] = lambda seconds, local=local: inside.measure(local, seconds)
        measurements.in_turn(
            (session, lambda seconds, session=session: inside.measure(session, seconds)), served
        )
        del measurements.added[local]
    inside.close()


def measure_server(measurements: Measurements, folder: pathlib.Path) -> None:
    """`apps.serve` without batching."""
    with ServerProcess(f"--model_config_file={folder}/models.config", _LONG) as server:
        if 1 in measurements.clients:
            measure_overhead(measurements, folder, server)
        for work in WORKS:
            _load_both(measurements, work, server, "")


def measure_batching(measurements: Measurements, folder: pathlib.Path) -> None:
    """`apps.serve` with batching, started again for each workload: the parameters hold for all models of a server."""
    for work in WORKS:
        path = folder / "batching.config"
        size = max(2, *measurements.clients)
        path.write_text(BATCHING.format(size=size, timeout=TIMEOUTS[work]), encoding="ascii")
        batched = ("--enable_batching", f"--batching_parameters_file={path}")
        with ServerProcess(f"--model_config_file={folder}/models.config", _LONG, *batched) as server:
            _load_both(measurements, work, server, ", batched")


def _load_both(measurements: Measurements, work: str, server: ServerProcess, suffix: str) -> None:
    path = f"/v1/models/{WORKS[work]}:predict"
    measurements.load(f"{work}, REST{suffix}", work, "rest", server.rest_port, path)
    measurements.load(f"{work}, gRPC{suffix}", work, "grpc", server.grpc_port)


def measure_nothing(measurements: Measurements) -> None:
    """What the load generator reaches at most."""
    command = [sys.executable, str(SIDES / "load.py"), '{"protocol": "null"}']
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="ascii") as process:
        port = int(process.stdout.readline() if process.stdout else 0)
        try:
            measurements.load("nothing", "classify", "rest", port, "/")
        finally:
            process.kill()


def measure_transformers(
    measurements: Measurements, folder: pathlib.Path, size: models.Size, python: str
) -> None:
    """`transformers serve` with a GPT-2 of the same size, plain and with its continuous batching."""
    model = str(folder / "torch")
    fields = json.dumps(dataclasses.asdict(size))
    subprocess.run([python, str(SIDES / "transformers_server.py"), fields, model], check=True)
    program = os.path.join(os.path.dirname(python), "transformers")
    for suffix, flag in (("", []), (", batched", ["--continuous-batching"])):
        port = _free_port()
        fixed = ["--device=cpu", "--dtype=float32", "--log-level=error"]
        process = subprocess.Popen(
            [program, "serve", model, f"--port={port}", *fixed, *flag],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"http://localhost:{port}/health", process)
            name = f"generate, transformers serve{suffix}"
            measurements.load(name, "generate", "openai", port, "/v1/completions")
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Until something answers there.

    Raises:
        SystemExit: nothing does, or the process has ended.
    """
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    ended = "" if process.returncode is None else f": its process ended with {process.returncode}"
    raise SystemExit(f"{url} does not answer{ended}.")


def main(argv: list[str]) -> None:
    """Models, then side after side, then the table."""
    del argv
    values = flags.FLAGS
    clients = [int(count) for count in values.clients]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if values.models:
            for name in WORKS.values():
                os.symlink(os.path.abspath(f"{values.models}/{name}"), folder / name)
            models.write_config(folder)
        else:
            models.write_models(folder, models.SIZES[values.size])
        write_payloads(folder)
        measurements = Measurements(folder, clients, values.seconds)
        measure_nothing(measurements)
        measure_server(measurements, folder)
        measure_batching(measurements, folder)
        if values.torch_python:
            measure_transformers(measurements, folder, models.SIZES[values.size], values.torch_python)
    found = {
        "size": values.size,
        "results": measurements.results,
        "milliseconds_added": measurements.added,
        "times_by_batching": batching_ratios(measurements.results),
    }
    if values.output:
        pathlib.Path(values.output).write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(measurements.results, clients))
    for name, number in measurements.added.items():
        print(f"{name}: {number:.2f} ms added with one client")
    for name, number in found["times_by_batching"].items():
        print(f"{name}: {number:.2f} times the requests by batching at 16 clients")


if __name__ == "__main__":
    define_flags()
    app.run(main)
