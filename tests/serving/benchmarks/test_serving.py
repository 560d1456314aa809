"""The benchmark of the server for seconds; its table and its ratios."""

import contextlib
import json

import pytest

from benchmarks import serving
from benchmarks.serving_sides import in_process
from benchmarks.serving_sides.serving_table import ratios, row_of, table
from tflm.serving.server import ModelManager, Server
from tflm.serving.server.model_config import read_model_config_file


@pytest.fixture
def few_processes(monkeypatch):
    """The side without a server and the plain server run here: to be run, not measured, they need no processes of their
    own. The batched one has its process."""
    in_a_process, serve_in_a_process = serving.run, serving.ServerProcess

    def run(program, *arguments):
        if program == "in_process.py":
            return in_process.measure_all(arguments[0], float(arguments[1]))
        return in_a_process(program, *arguments)

    @contextlib.contextmanager
    def serve(config, *arguments):
        if "--enable_batching" in arguments:
            with serve_in_a_process(config, *arguments) as server:
                yield server
            return
        manager = ModelManager(read_model_config_file(config.removeprefix("--model_config_file=")))
        manager.start()
        with Server(manager, rest_port=0, grpc_port=0, drain_seconds=1.0) as server:
            yield server
        manager.stop()

    monkeypatch.setattr(serving, "run", run)
    monkeypatch.setattr(serving, "ServerProcess", serve)


@pytest.mark.usefixtures("few_processes")
def test_the_benchmark_of_seconds(run_here, served_models, tmp_path, capsys):
    path = tmp_path / "found.json"
    values = {"seconds": 0.05, "clients": ["1"], "size": "tiny", "torch_python": None}
    assert run_here(serving, models=str(served_models), output=str(path), **values) == 0
    out = capsys.readouterr().out
    results = json.loads(path.read_text())["results"]
    sides = ["REST", "gRPC", "REST, batched", "gRPC, batched"]
    served = [f"{work}, {side}" for side in sides for work in ("classify", "generate")]
    assert set(served) < set(results)
    assert all(set(results[name]) == {"1"} for name in served)
    assert out.startswith("|  | 1 clients: requests/s | p50 / p95 / p99, ms")
    assert "classify, REST: ms added: " in out


@pytest.mark.parametrize("program", ["serving.py", "soak_serving.py"])
def test_help(print_help, program):
    assert "python benchmarks/" + program in print_help(program)


def row(*latencies):
    return row_of({"latencies": latencies, "seconds": 2.0, "cpu_seconds": 0.5, "refusals": 0})


def test_the_table_and_the_ratios():
    results = {
        "generate, in process, session": {"1": row(0.25)},
        "generate, REST": {"1": row(0.5), "16": row(*[1.0] * 10)},
        "generate, REST, batched": {"16": row(*[1.0] * 40)},
    }
    assert results["generate, REST"]["16"] == {
        "rate": 5.0, "p50": 1.0, "p95": 1.0, "p99": 1.0, "busy": 0.25, "refusals": 0,
    }  # fmt: skip
    assert ratios(results) == {"generate, REST: ms added": 250.0, "generate, REST: times by batching": 4.0}
    lines = table(results, [1, 16]).splitlines()
    assert lines[2] == "| generate, in process, session | 0.5 | 250.0 / 250.0 / 250.0 |  |  |"
    assert lines[3] == "| generate, REST | 0.5 | 500.0 / 500.0 / 500.0 | 5.0 | 1000.0 / 1000.0 / 1000.0 |"
    assert len({line.count("|") for line in lines}) == 1
