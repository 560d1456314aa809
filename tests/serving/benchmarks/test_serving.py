"""The benchmark of the server for seconds; its table and its ratios."""

import json

import pytest

from benchmarks.serving_sides.serving_table import ratios, row_of, table


def test_the_benchmark_of_seconds(run, served_models, tmp_path):
    path = tmp_path / "found.json"
    done = run("serving.py", "--seconds=0.2", "--clients=1", f"--models={served_models}", f"--output={path}")
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(path.read_text())["results"]
    sides = ["REST", "gRPC", "REST, batched", "gRPC, batched"]
    served = [f"{work}, {side}" for side in sides for work in ("classify", "generate")]
    assert set(served) < set(results)
    assert all(set(results[name]) == {"1"} for name in served)
    assert done.stdout.startswith("|  | 1 clients: requests/s | p50 / p95 / p99, ms")
    assert "classify, REST: ms added: " in done.stdout


@pytest.mark.parametrize("program", ["serving.py", "soak_serving.py"])
def test_help(run, program):
    assert "python benchmarks/" + program in run(program, "--help").stdout


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
