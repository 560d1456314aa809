"""log.jsonl: each record at once, later ones dropped when a run is resumed, and the same in TensorBoard."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.training import read_log
from tflm.training.logs import NoiseScaleMeter, RunLog, evaluation_note, precision_note


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


def noise(*pairs):
    return dict(zip(("gradient_noise", "gradient_signal"), np.float32(pairs).T, strict=True))


def test_the_noise_scale_is_the_batch_size_times_a_ratio_of_means():
    meter = NoiseScaleMeter(8)
    record = meter.measure(2, noise((3.0, 1.0), (1.0, 3.0)))
    assert record == {
        "gradient_noise": 2.0,
        "gradient_signal": 2.0,
        "gradient_noise_scale": pytest.approx(8.0),
    }
    later = meter.measure(4, noise((6.0, 1.0), (np.nan, np.nan)))  # a skipped step does not count
    before, kept = (1.0 - (2 / 11) ** 2) * 2.0, (4 / 13) ** 2  # two steps, at steps 2 and 4
    ratio = (kept * before + (1.0 - kept) * 6.0) / (kept * before + (1.0 - kept) * 1.0)
    assert later["gradient_noise_scale"] == pytest.approx(8.0 * ratio)


def test_the_noise_scale_goes_on_after_a_resume_to_the_last_bit():
    rng = np.random.default_rng(0)
    values = [noise(*rng.uniform(0.1, 1.0, [2, 2])) for _ in range(6)]
    whole, begun = NoiseScaleMeter(8), NoiseScaleMeter(8)
    records = [{"step": 2 * n, **whole.measure(2 * n, each)} for n, each in enumerate(values, 1)]
    for n, each in enumerate(values[:3], 1):
        begun.measure(2 * n, each)
    resumed = NoiseScaleMeter(8, [{"step": 2, "eval_loss": 1.0}, *records[:3]])
    assert resumed.measure(8, values[3]) == begun.measure(8, values[3]) == whole_record(records[3])


def whole_record(record):
    return {name: value for name, value in record.items() if name != "step"}


def test_no_noise_scale_where_the_signal_is_below_the_noise_or_there_is_one_micro_batch():
    assert "gradient_noise_scale" not in NoiseScaleMeter(8).measure(1, noise((1.0, -0.5)))
    assert NoiseScaleMeter(8).measure(1, noise((np.nan, np.nan))) == {}
    assert NoiseScaleMeter(8).measure(1, {"loss": np.float32([1.0])}) == {}


def test_the_bar_has_the_last_held_out_loss_also_after_a_resume(tmp_path):
    log = RunLog(str(tmp_path), 10, 0)
    log.write(4, {"eval_loss": 2.75})
    log.advance(6, 2.5, 1234.0)
    assert log.bar.values == ("loss 2.500", "held-out 2.750", "1,234 tokens/s")
    log.close()
    log = RunLog(str(tmp_path), 10, 4)
    log.advance(6, 2.5, 1234.0)
    assert log.bar.values[1] == "held-out 2.750"
    log.close()


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 损\n{"step": 3}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"log\.jsonl:2: expected a JSON object, found .* remove the line"):
        read_log(str(tmp_path))
