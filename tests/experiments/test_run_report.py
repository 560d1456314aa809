"""The page of `tflm report`: what it shows, of one run and of several, and of runs that lack something."""

import html.parser
import json
import os
import pathlib
import re
import shutil

import pytest

from tflm.errors import UserError
from tflm.evaluation import Curve, Panel, curves_svg
from tflm.experiments import Experiment
from tflm.experiments.run_record import record_start
from tflm.experiments.run_report import RunReport, duration, language_of, panels, read_reports, write_run_page
from tflm.training import make_strategy, read_log

VOID = {"meta", "link", "br", "hr", "img", "input"}
POEM = "床前明月光，疑是地上霜"


def write_lines(path, records):
    path.write_text(
        "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), encoding="utf-8"
    )


def fill(run, loss=3.0):
    """A log of 40 steps, with all that a run may have."""
    records = []
    for step in range(2, 41, 2):
        values = {
            "loss": loss - step / 20,
            "gradient_norm": 1.0,
            "learning_rate": 1e-3,
            "tokens": 100.0 * step,
        }
        speed = {"seconds": 2.0 * step, "tokens_per_second": 50.0, "share_of_peak": 0.25}
        noise = {"gradient_noise": 0.5, "gradient_signal": 0.25, "gradient_noise_scale": 64.0}
        records.append({"step": step, "time": 1e9 + step, **values, **speed, **noise})
        if step % 20 == 0:
            measures = {
                "eval_loss": 2.5,
                "eval_perplexity": 12.2,
                "eval_num_tokens": 90.0,
                "eval_accuracy": step / 100,
            }
            records.append({"step": step, "time": 1e9 + step, **measures})
    records[5]["skipped_steps"] = 1.0
    path = pathlib.Path(run.workdir)
    write_lines(path / "log.jsonl", records)
    (path / "starts.jsonl").unlink(missing_ok=True)
    for step in (0, 20):
        record_start(run, make_strategy("one_device"), step, num_parameters=1000)
    samples = [
        {"prompt": POEM, "text": "举头望明月<b>\x02", "target": "低头思故乡"},
        {"prompt": "The fox", "text": "jumps"},
    ]
    write_lines(path / "samples.jsonl", [{"step": step, "samples": samples} for step in range(4, 41, 4)])
    write_lines(
        path / "bad_steps.jsonl", [{"step": 12, "loss": "nan", "gradient_norm": "inf", "texts": [POEM]}]
    )
    energy = {
        "start_step": 0,
        "seconds": 60.0,
        "cpu_energy_kwh": 1e-3,
        "gpu_energy_kwh": 0.0,
        "ram_energy_kwh": 1e-3,
    }
    energy |= {"energy_kwh": 2e-3, "emissions_kg": 1e-3, "country": "China", "assumptions": ["CPU: 10 W."]}
    ends = [{"start": "a", **energy, "energy_kwh": 1e-3}, {"start": "a", **energy}, {"start": "b", **energy}]
    write_lines(path / "energy.jsonl", ends)
    return run


@pytest.fixture
def full(trained):
    return fill(trained)


class Page(html.parser.HTMLParser):
    """Checks that every element is closed, and keeps the text by language."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.names, self.attributes = [], {}, [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("lang")))

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        language = next((lang for _, lang in reversed(self.open) if lang), None)
        self.text[language] = self.text.get(language, "") + " ".join(data.split()) + "\n"


def page_of(folders, tmp_path):
    output = tmp_path / "报告.html"
    write_run_page(read_reports(folders), str(output))
    return Page(output.read_text(encoding="utf-8"))


def test_one_run(full, tmp_path):
    page = page_of([full.workdir], tmp_path)
    english, chinese = page.text["en"], page.text["zh"]
    for words in (
        "tiny_lstm",
        "complete, 2 steps",
        "held-out loss",
        "best 0.4 at step 40",  # accuracy: the higher one
        "1 skipped step; 1 step in bad_steps.jsonl",
        "2 starts, resumed from step 20.",
        "2.40 × 10⁷ = 6 × 1,000 trained parameters × 4,000 tokens",
        "1.20 × 10⁶ FLOP/s",  # 6 * 1000 * 50 / 0.25
        "4 Wh",  # the last line of each start
        "CPU: 10 W.",
        "jumps",
    ):
        assert words in english, words
    assert chinese.count("举头望明月<b>\ufffd") == 6, "six of ten evaluations"
    assert POEM in chinese and "低头思故乡" in chinese
    titles = [panel.title for panel in panels([RunReport(full.workdir, "x")])]
    assert page.names.count("svg") == len(titles) == 6
    assert "Held out: accuracy" in titles and "Gradient noise scale, in rows" in titles
    assert "script" not in page.names
    assert not [
        value for name, value in page.attributes if name in ("src", "href") and not value.startswith("#")
    ]


def test_several_runs(full, trained_once, tmp_path):
    shutil.copytree(trained_once, tmp_path / "对照")
    other = fill(Experiment.open(str(tmp_path / "对照")), loss=4.0)
    page = page_of([full.workdir, other.workdir], tmp_path)
    assert "2 runs" in page.text["en"] and "对照" in page.text["zh"]
    assert page.names.count("svg") == 6
    (first, *_) = panels(read_reports([full.workdir, other.workdir]))
    assert len({curve.colour for curve in first.curves}) == 2 and len(first.curves) == 4


def test_names_of_runs_that_share_one(full, tmp_path):
    shutil.copytree(full.workdir, tmp_path / "other" / "run")
    folders = [full.workdir, str(tmp_path / "other" / "run")]
    assert [report.name for report in read_reports(folders)] == folders


def test_a_run_with_a_log_alone(trained, tmp_path):
    """As of an earlier version, whose data was removed."""
    for name in ("data", "tokenizer"):
        shutil.rmtree(os.path.join(trained.workdir, name))
    page = page_of([trained.workdir], tmp_path)
    for words in (
        "None. Tasks that generate text",
        "not recorded",
        "Not measured.",
        "There is no starts.jsonl.",
    ):
        assert words in page.text["en"]


def test_without_steps(experiment, tmp_path):
    with pytest.raises(
        UserError, match=r"has nothing to report yet: there is no log\.jsonl with steps\. `tflm train"
    ):
        RunReport(experiment.workdir, "run")
    with pytest.raises(UserError, match="holds no run"):
        RunReport(str(tmp_path / "没有"), "run")


def test_a_damaged_file_is_named(full):
    path = os.path.join(full.workdir, "samples.jsonl")
    with open(path, "a", encoding="utf-8") as file:
        file.write("{损\n")
    with pytest.raises(UserError, match=r"samples\.jsonl:11: expected a JSON object"):
        RunReport(full.workdir, "run")


def test_a_page_that_cannot_be_written(full, tmp_path):
    with pytest.raises(UserError, match="cannot write the page"):
        write_run_page(read_reports([full.workdir]), str(tmp_path / "none" / "page.html"))


def test_a_log_that_a_kill_cut_off(full):
    path = os.path.join(full.workdir, "log.jsonl")
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 42, "lo')
    assert RunReport(full.workdir, "run").step == 40
    assert len(read_log(full.workdir)) == 22


def test_curves_have_the_ink_of_the_page_and_keep_spikes():
    points = [(step, 1.0 + 9.0 * (step == 4321)) for step in range(10_000)]
    svg = curves_svg(Panel("loss", [Curve(points, "#3b82f6")], marks=[50]))
    assert svg.startswith('<svg role="img"') and "currentColor" in svg and "#0a0b0c" not in svg
    assert not re.search(r"<svg[^>]* (width|height)=", svg)
    assert len(svg) < 60_000
    ys = [
        float(y) for path in re.findall(r'd="M ([^"]+)"', svg) for y in re.findall(r"[\d.]+ ([\d.]+)", path)
    ]
    assert max(ys) - min(ys) > 100, "the spike is as high as the picture"


@pytest.mark.parametrize(
    "text, language",
    [("你好", "zh"), ("こんにちは、世界", "ja"), ("안녕 世界", "ko"), ("hello", ""), ("", "")],
)
def test_the_language_of_a_text(text, language):
    assert language_of(text) == language


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 59.6, 3725)] == ["0 s", "1 min 0 s", "1 h 2 min"]
