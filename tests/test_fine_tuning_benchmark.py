"""The benchmark of fine-tuning: its table, and tflm's side on a tiny checkpoint. The peer needs more time."""

import importlib.util
import json
import pathlib
import types

import pytest
import tensorflow as tf

from tests.experiments import tiny_checkpoints

ROOT = pathlib.Path(__file__).parents[1]


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_medians_and_ends_over_rounds():
    found = [
        {"seconds": seconds, "dev": 0.875, "test": test, "peak_bytes": gib * 2**30}
        for seconds, test, gib in ((60.0, 0.88, 1.0), (70.0, 0.89, 2.0), (90.0, 0.9, 1.5))
    ]
    head, line, row = load("fine_tuning").table({"tflm": found}).splitlines()
    assert head.count("|") == line.count("|") == row.count("|")
    assert row == "| tflm | 70 s [60, 90] | 87.5% [87.5, 87.5] | 89.0% [88.0, 90.0] | 2.00 |"


@pytest.mark.slow
def test_the_side_of_tflm_trains_and_measures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda num_threads: None)
    rows = [("the film is good", "好"), ("the film is bad", "坏")]
    for split, count in (("train", 16), ("dev", 3), ("test", 2)):
        lines = ["text\tlabel", *("\t".join(rows[i % 2]) for i in range(count))]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tiny_checkpoints.bert(tmp_path / "checkpoint")
    setting = {
        "checkpoint": str(tmp_path / "checkpoint"),
        "data": str(tmp_path),
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "seed": 0,
        "num_threads": 2,
    }
    load("fine_tuning_sides/tflm_side").main(json.dumps(setting), str(tmp_path / "runs"))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["dev"] in (0.0, 1 / 3, 2 / 3, 1.0) and found["test"] in (0.0, 0.5, 1.0)
    assert found["seconds"] > 0 and found["peak_bytes"] > 2**20
