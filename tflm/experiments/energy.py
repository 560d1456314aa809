"""Energy and CO2 of a training, estimated by CodeCarbon without a network.

WORKDIR/energy.jsonl     a line after each evaluation and at the end; the last one of a start counts
"""

import datetime
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tflm.errors import UsageError, UserError
from tflm.files.writing import writing
from tflm.training.observers import TrainingObserver

ENERGY_FILE = "energy.jsonl"
"""In the folder of the run."""
_SECONDS_BETWEEN_SAMPLES = 15


class Energy(TrainingObserver):
    """Measures from before the first step to the end of a training, evaluations and checkpoints included. A failure of
    CodeCarbon is reported and does not stop the training.

    Args:
        country: ISO 3166-1 alpha-3 code of the country whose electricity the machine uses, such as DEU or CHN.
        workdir: folder of the run.
    Raises:
        UsageError: it is no such code.
        UserError: CodeCarbon is not installed.
    """

    def __init__(self, country: str, workdir: str) -> None:
        self.country = country.strip().upper()
        if not re.fullmatch("[A-Z]{3}", self.country):
            raise UsageError(
                "--energy is the ISO 3166 code of a country in three letters, such as DEU, CHN or USA; got "
                f"{country!r}."
            )
        try:
            self._codecarbon: Any = importlib.import_module("codecarbon")
        except ImportError as error:
            raise UserError(f"--energy: {error}. Install it: pip install 'tflm[carbon]'.") from error
        self._path = os.path.join(workdir, ENERGY_FILE)
        self._tracker: Any = None
        self._note_fn: Callable[[str], None] = lambda text: None
        self._record: dict[str, Any] = {}

    def begin(self, step: int, past: Iterable[Mapping[str, Any]], note_fn: Callable[[str], None]) -> None:
        """Starts the measurement."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        self._note_fn, self._record = note_fn, {"start": now, "start_step": step, "step": step}
        self._try(self._start)

    def recorded(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the step."""
        self._record["step"] = step

    def evaluated(self, step: int) -> None:
        """Writes what was used so far."""
        if self._tracker is not None:
            self._try(self._tracker.flush)

    def end(self, failed: bool) -> None:
        """Writes what was used."""
        if self._tracker is not None:
            self._try(self._tracker.stop)
            self._tracker = None

    def _start(self) -> None:
        logging.getLogger("codecarbon").setLevel(
            logging.CRITICAL
        )  # it has its own lines for each measurement
        tracker = self._codecarbon.OfflineEmissionsTracker(
            country_iso_code=self.country,
            measure_power_secs=_SECONDS_BETWEEN_SAMPLES,
            save_to_file=False,
            log_level="critical",
            allow_multiple_runs=True,
            output_handlers=[_Output(self._write)],
        )
        tracker.start()
        self._tracker = tracker

    def _write(self, data: Any) -> None:
        record = {
            **self._record,
            "seconds": data.duration,
            "energy_kwh": data.energy_consumed,
            "cpu_energy_kwh": data.cpu_energy,
            "gpu_energy_kwh": data.gpu_energy,
            "ram_energy_kwh": data.ram_energy,
            "emissions_kg": data.emissions,
            "country": data.country_name,
            "assumptions": _assumptions(data),
        }
        with writing(f"the energy {self._path!r}"), open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception as error:  # whatever a library raises
            self._tracker = None
            self._note_fn(f"CodeCarbon failed, and energy is not measured further: {error}")


class _Output:
    """An output of CodeCarbon, as its class `BaseOutput` has them."""

    def __init__(self, write_fn: Callable[[Any], None]) -> None:
        self._write_fn = write_fn

    def out(self, total: Any, delta: Any) -> None:
        """Called with the totals at each flush and at the end."""
        self._write_fn(total)

    def live_out(self, total: Any, delta: Any) -> None:
        """Nothing."""

    def task_out(self, data: Any, experiment_name: str) -> None:
        """Nothing."""

    def exit(self) -> None:
        """Nothing."""


def _assumptions(data: Any) -> list[str]:
    """What the estimate rests on, by CodeCarbon's data of a measurement."""
    power = f"CPU {data.cpu_power:.3g} W, GPU {data.gpu_power:.3g} W, memory {data.ram_power:.3g} W"
    processor = f"{data.cpu_count} × {data.cpu_model}" + (f", {data.gpu_model}" if data.gpu_model else "")
    factor = f"{1000 * data.emissions / data.energy_consumed:.0f} g" if data.energy_consumed else "no"
    return [
        f"Estimated by CodeCarbon {data.codecarbon_version} in offline mode, every {_SECONDS_BETWEEN_SAMPLES} s, for "
        f"the whole {data.tracking_mode}, other processes included: {processor}, {data.ram_total_size:.0f} GB; last "
        f"power {power}.",
        "GPUs report their power. So do some processors (RAPL); for others, as in most virtual machines, power is "
        "computed from the load and the thermal design power (TDP), or is a constant where the model is unknown. The "
        "power of memory is a constant by its size.",
        f"CO₂: {factor} CO₂eq per kWh, the mean of the electricity of {data.country_name}. Power usage effectiveness "
        f"(PUE) of the data centre: {data.pue:g}. The making of the hardware is not counted.",
    ]
