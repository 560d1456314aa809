"""The benchmark of training: its table, and tflm's side from the start to the table. The peers need more time."""

import dataclasses
import importlib.util
import pathlib
import sys

import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).parents[1] / "benchmarks/training.py"


@pytest.fixture(scope="module")
def benchmark():
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("training_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def quick(benchmark, model):
    return dataclasses.replace(benchmark.MODELS[model], **benchmark.QUICK)


def found(*seconds):
    turns = [{"seconds": each, "losses": [5.0]} for each in seconds]
    return {"ready": 3.0, "peak_bytes": 2**31, "losses": [6.0, 5.5], "turns": turns}


def test_the_ratio_is_that_of_the_best_in_each_round(benchmark):
    results = {
        "tflm": found(1.0, 4.0, 1.0),
        "tflm_xla": found(2.0, 2.0, 2.0),
        "torch": found(2.0, 2.0, 3.0),
        "keras_hub": found(9.0, 9.0, 0.5),
    }
    assert benchmark.ratios(results) == [2.0, 1.0, 0.5]
    setting = quick(benchmark, "gpt")
    lines = benchmark.table(setting, results).splitlines()
    assert lines[2] == "| tflm | 64 | 3 s | 2.00 | 6.000, 5.000 |"  # 4 rows of 16 tokens in the middle second
    assert lines[-1] == "tflm to the best peer: 1.00 [0.50, 2.00]"
    assert benchmark.ratios({"tflm": found(1.0)}) == []


def test_every_side_has_a_program(benchmark):
    for name in benchmark.NAMES:
        python, program, kind, setting = benchmark.command(name, quick(benchmark, "lstm"), "peer")
        assert pathlib.Path(program).is_file() and kind in ("plain", "xla", "compiled")
        assert (python == "peer") == name.startswith("torch") and '"lstm"' in setting


def test_tokens_can_be_predicted_and_are_the_same_on_every_side(benchmark):
    setting = quick(benchmark, "gpt")
    rows = setting.batches()
    assert rows.shape == (4, 4, 17) and rows.min() >= 10 and rows.max() < setting.vocab_size
    np.testing.assert_array_equal(rows, setting.batches())
    pairs = {(a, b) for a, b in zip(rows[..., :-1].flat, rows[..., 1:].flat, strict=True)}
    assert len(pairs) <= 4 * len({a for a, _ in pairs})


def test_the_side_of_tflm_takes_turns(benchmark):
    results = benchmark.measure(quick(benchmark, "gpt"), ["tflm"], 2, "")
    (result,) = results.values()
    assert len(result["turns"]) == 2 and result["peak_bytes"] > 0
    assert np.isfinite([loss for turn in result["turns"] for loss in turn["losses"]]).all()
    assert result["losses"][0] == pytest.approx(np.log(300), rel=0.1), "that of an untrained model"
