"""Energy by CodeCarbon: what is asked of it and what is kept, with a stand-in that has the signatures of 3.3.2.

CodeCarbon itself needs some seconds to look at the machine, and other libraries; that version was tried.
"""

import sys
import types

import pytest

from tflm.errors import UsageError, UserError
from tflm.experiments.energy import Energy
from tflm.experiments.run_report import last_of_each_start
from tflm.training.logs import read_records

DATA = types.SimpleNamespace(
    duration=30.0,
    emissions=5e-4,
    energy_consumed=1e-3,
    cpu_energy=7e-4,
    gpu_energy=0.0,
    ram_energy=3e-4,
    cpu_power=60.0,
    gpu_power=0.0,
    ram_power=10.0,
    cpu_count=2,
    cpu_model="A processor",
    gpu_model="",
    ram_total_size=23.5,
    tracking_mode="machine",
    country_name="China",
    pue=1.0,
    codecarbon_version="3.3.2",
)


class Stand:
    """Of `OfflineEmissionsTracker`."""

    def __init__(
        self,
        *,
        country_iso_code=None,
        measure_power_secs=None,
        save_to_file=None,
        log_level=None,
        allow_multiple_runs=None,
        output_handlers=None,
    ):
        assert country_iso_code == "CHN" and save_to_file is False
        self.handlers = output_handlers

    def start(self):
        return None

    def flush(self):
        for handler in self.handlers:
            handler.out(DATA, DATA)
            handler.live_out(DATA, DATA)

    def stop(self):
        self.flush()
        for handler in self.handlers:
            handler.exit()


@pytest.fixture
def codecarbon(monkeypatch):
    module = types.SimpleNamespace(OfflineEmissionsTracker=Stand)
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    return module


def test_each_evaluation_and_the_end_are_a_line(codecarbon, tmp_path):
    for first, last in ((0, 4), (4, 8)):
        energy = Energy("chn", str(tmp_path))
        energy.begin(first, [], print)
        energy.recorded(last, {"loss": 1.0})
        energy.evaluated(last)
        energy.end(False)
    records = read_records(str(tmp_path / "energy.jsonl"))
    assert len(records) == 4
    ends = last_of_each_start(records)
    assert [(record["start_step"], record["step"]) for record in ends] == [(0, 4), (4, 8)]
    assert ends[0]["energy_kwh"] == 1e-3 and ends[0]["country"] == "China"
    text = " ".join(ends[0]["assumptions"])
    for words in (
        "CodeCarbon 3.3.2 in offline mode",
        "2 × A processor, 24 GB",
        "CPU 60 W",
        "(TDP)",
        "500 g CO₂eq per kWh",
    ):
        assert words in text


def test_a_failure_is_reported_and_training_goes_on(codecarbon, tmp_path):
    notes = []
    energy = Energy("CHN", str(tmp_path / "none"))
    energy.begin(0, [], notes.append)
    for _ in range(2):
        energy.evaluated(2)
    energy.end(True)
    (note,) = notes
    assert note.startswith("CodeCarbon failed, and energy is not measured further: cannot write the energy")


def test_a_failure_at_the_start(codecarbon, tmp_path, monkeypatch):
    def fail(**options):
        raise RuntimeError("没有处理器")

    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", fail)
    notes = []
    energy = Energy("CHN", str(tmp_path))
    energy.begin(0, [], notes.append)
    energy.end(False)
    assert notes == ["CodeCarbon failed, and energy is not measured further: 没有处理器"]


@pytest.mark.parametrize("country", ["中国", "DE", "", "CHINA"])
def test_a_wrong_country(codecarbon, tmp_path, country):
    with pytest.raises(UsageError, match="--energy is the ISO 3166 code of a country in three letters"):
        Energy(country, str(tmp_path))


def test_without_codecarbon(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(UserError, match=r"--energy: .*Install it: pip install 'tflm\[carbon\]'"):
        Energy("CHN", str(tmp_path))
