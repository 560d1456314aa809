"""The table of the benchmark of weight formats. Its sides are those of the benchmark of generation."""

import importlib.util
import pathlib
import sys

import pytest

PROGRAM = pathlib.Path(__file__).parents[1] / "benchmarks/weight_formats.py"


@pytest.fixture(scope="module")
def benchmark():
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("weight_formats_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def found(one, two, gib):
    return {"resident_bytes": gib * 2**30, "batches": {"1": {"all": one}, "2": {"all": two}}}


def test_tokens_per_second_and_their_ratios_to_float32(benchmark):
    results = {
        "generate_xla": {
            "float32": [found([0.2, 9.0], [0.4], 2.0), found([0.1], [0.4], 1.0)],
            "int8": [found([0.1], [0.8], 0.5)],
        }
    }
    head, line, *rows = benchmark.table(
        benchmark.QUICK, {"float32": 8_000_000, "int8": 2_000_000}, results
    ).splitlines()
    assert head.count("|") == line.count("|") == rows[0].count("|")
    assert rows == [
        "| float32 | `generate_xla` | 8 | 40.0 (1.00) | 40.0 (1.00) | 1.50 |",
        "| int8 | `generate_xla` | 2 | 80.0 (2.00) | 20.0 (0.50) | 0.50 |",
    ]
    del results["generate_xla"]["float32"]
    rows = benchmark.table(benchmark.QUICK, {"int8": 2_000_000}, results).splitlines()
    assert rows[-1] == "| int8 | `generate_xla` | 2 | 80.0 | 20.0 | 0.50 |"


def test_the_size_of_an_export(benchmark, tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables/data").write_bytes(b"12345")
    (tmp_path / "saved_model.pb").write_bytes(b"678")
    assert benchmark.folder_bytes(str(tmp_path)) == 8
