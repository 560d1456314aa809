"""The benchmark of the server for seconds; its table and its ratios."""

import contextlib
import json
import re

import pytest

from benchmarks import serving
from benchmarks.serving_sides import in_process
from benchmarks.serving_sides.serving_table import batching_ratios, joined, row_of, table
from tflm.serving.server import ModelManager, Server
from tflm.serving.server.core.model_config import read_model_config_file


@pytest.fixture
def few_processes(monkeypatch):
    """The side without a server and the plain server run here: to be run, not measured, they need no processes of their
    own. The batched one has its process."""
    serve_in_a_process = serving.ServerProcess

    class Inside(in_process.InProcess):
        def close(self):
            self._ways.clear()

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

    monkeypatch.setattr(serving, "InProcess", lambda folder: Inside(str(folder)))
    monkeypatch.setattr(serving, "ServerProcess", serve)


@pytest.mark.usefixtures("few_processes")
def test_the_benchmark_of_seconds(run_here, served_models, tmp_path, capsys):
    path = tmp_path / "found.json"
    values = {"seconds": 0.05, "clients": ["1"], "size": "tiny", "torch_python": None}
    assert run_here(serving, models=str(served_models), output=str(path), **values) == 0
    out = capsys.readouterr().out
    found = json.loads(path.read_text(encoding="utf-8"))
    results = found["results"]
    sides = ["REST", "gRPC", "REST, batched", "gRPC, batched"]
    served = [f"{work}, {side}" for side in sides for work in ("classify", "generate")]
    inside = [
        f"{work}, in process, {kind}" for kind in ("local", "session") for work in ("classify", "generate")
    ]
    assert set(results) == {"nothing", *served, *inside}
    assert all(set(results[name]) == {"1"} for name in served)
    assert set(found["milliseconds_added"]) == set(served[:4])
    assert out.startswith("|  | 1 clients: requests/s | p50 / p95 / p99, ms")
    assert re.search(r"^classify, REST: [-\d.]+ ms added with one client$", out, re.MULTILINE)


def test_in_process_as_a_process(served_models, tmp_path):
    for name in serving.WORKS.values():
        (tmp_path / name).symlink_to(served_models / name)
    serving.write_payloads(tmp_path)
    inside = serving.InProcess(tmp_path)
    assert inside.names == [
        f"{work}, in process, {kind}" for work in ("classify", "generate") for kind in ("local", "session")
    ]
    for name in inside.names[:2]:
        assert len(inside.measure(name, 0.02)["latencies"]) >= 1
    inside.close()


@pytest.mark.parametrize("program", ["serving.py", "soak_serving.py"])
def test_help(print_help, program):
    assert "python benchmarks/" + program in print_help(program)


def row(*latencies):
    return row_of({"latencies": latencies, "seconds": 2.0, "cpu_seconds": 0.5, "refusals": 0})


def test_the_table_and_its_numbers():
    found = {"seconds": 2.0, "cpu_seconds": 0.5, "refusals": 0}
    results = {
        "generate, in process, session": {"1": row(0.25)},
        "generate, REST": {"1": row(0.5), "16": row(*[1.0] * 10)},
        "generate, REST, batched": {"16": row(*[1.0] * 40)},
    }
    assert results["generate, REST"]["16"] == {
        "rate": 5.0, "p50": 1.0, "p95": 1.0, "p99": 1.0, "busy": 0.25, "refusals": 0,
    }  # fmt: skip
    assert batching_ratios(results) == {"generate, REST": 4.0}
    twice = joined([{"latencies": [0.5], **found}, {"latencies": [0.25], **found}])
    assert twice == {"latencies": [0.5, 0.25], "seconds": 4.0, "cpu_seconds": 1.0, "refusals": 0}
    lines = table(results, [1, 16]).splitlines()
    assert lines[2] == "| generate, in process, session | 0.5 | 250.0 / 250.0 / 250.0 |  |  |"
    assert lines[3] == "| generate, REST | 0.5 | 500.0 / 500.0 / 500.0 | 5.0 | 1000.0 / 1000.0 / 1000.0 |"
    assert len({line.count("|") for line in lines}) == 1
