"""log.jsonl: each record at once, later ones dropped when a run is resumed, and the same in TensorBoard."""

import json

import pytest
import tensorflow as tf

from tflm.training import read_log
from tflm.training.logs import RunLog, evaluation_note, precision_note


def write_records(workdir, steps, first_step=0):
    log = RunLog(str(workdir), 10, first_step)
    for step in steps:
        log.write(step, {"loss": step / 3})
    log.close()


def test_a_record_is_a_line_with_step_and_time(tmp_path):
    log = RunLog(str(tmp_path / "new"), 10, 0)
    log.write(4, {"loss": 1.23456789012, "learning_rate": 1e-5})
    line = (tmp_path / "new" / "log.jsonl").read_text(encoding="utf-8")  # before the log is closed
    log.close()
    record = json.loads(line)
    assert line.endswith("\n") and record.pop("time") > 1e9
    assert record == {"step": 4, "loss": 1.234568, "learning_rate": 1e-5}


def test_no_log_has_no_records(tmp_path):
    assert read_log(str(tmp_path)) == []


def test_records_after_the_checkpoint_are_dropped(tmp_path):
    write_records(tmp_path, [2, 4, 6, 8])
    write_records(tmp_path, [6], first_step=5)
    assert [record["step"] for record in read_log(str(tmp_path))] == [2, 4, 6]
    write_records(tmp_path, [2], first_step=0)
    assert [record["step"] for record in read_log(str(tmp_path))] == [2]


def test_a_last_line_that_was_cut_off(tmp_path):
    write_records(tmp_path, [2, 4])
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-8], encoding="utf-8")
    assert [record["step"] for record in read_log(str(tmp_path))] == [2]
    write_records(tmp_path, [4, 6], first_step=3)
    assert [record["step"] for record in read_log(str(tmp_path))] == [2, 4, 6]


def test_not_a_number_comes_back(tmp_path):
    log = RunLog(str(tmp_path), 10, 0)
    log.write(1, {"loss": float("nan")})
    log.close()
    (record,) = read_log(str(tmp_path))
    assert record["loss"] != record["loss"]


def test_tensorboard_has_the_same_numbers(tmp_path):
    write_records(tmp_path, [3, 6])
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    assert found == {(3, "loss"): pytest.approx(1.0), (6, "loss"): pytest.approx(2.0)}


def test_the_bar_begins_where_the_run_does(tmp_path, capsys):
    log = RunLog(str(tmp_path), 10, 4)
    assert (log.bar.num_done, log.bar.total) == (4, 10)
    log.advance(7, 2.5, 1234.0)
    assert (log.bar.num_done, log.bar.values) == (7, ("loss 2.500", "1,234 tokens/s"))
    log.close()
    assert capsys.readouterr().err == "", "nothing in a pipe"


def test_a_line_about_an_evaluation():
    metrics = {"loss": 2.5, "perplexity": 12.1825, "num_tokens": 640.0, "macro_f1": 0.5}
    line = "step 1,000: loss 2.310, held-out loss 2.5, perplexity 12.18, macro f1 0.5"
    assert evaluation_note(1000, 2.31, metrics) == line


def test_a_precision_that_is_slower_here_is_said():
    speeds = {"float32": 100.0, "bfloat16": 40.0}
    assert precision_note("mixed_bfloat16", speeds.get) == (
        "training.precision=mixed_bfloat16: matrix products run at 0.40 times the speed of float32 on this device. "
        "training.precision=float32 is probably faster here."
    )
    assert precision_note("mixed_bfloat16", {"float32": 100.0, "bfloat16": 300.0}.get) == ""
    assert precision_note("float32", {}.get) == ""
