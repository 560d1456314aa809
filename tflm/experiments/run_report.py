"""What `tflm report` shows of a run, from the files in its folder; nothing is trained or evaluated."""

import datetime
import functools
import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tflm.config import to_dict
from tflm.data import TokenStore
from tflm.errors import UserError
from tflm.evaluation import COLOURS, Curve, Panel, curves_svg
from tflm.experiments.energy import ENERGY_FILE
from tflm.experiments.run import Run
from tflm.experiments.run_record import STARTS_FILE, masked_counts, masked_text
from tflm.experiments.samples import SAMPLES_FILE
from tflm.files.writing import whole_file, writing
from tflm.text.cjk import HAN, HANGUL, KANA
from tflm.training.guards import STEPS_FILE
from tflm.training.logs import read_log, read_records, training_flops_per_token

_NUM_SAMPLE_STEPS = 6
_NUM_BATCHES = 20  # that the padding is counted in
_MOST_BAD_STEPS = 20
_CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # are not allowed in HTML
_TRAIN_PANELS = (
    ("learning_rate", "Learning rate", False),
    ("gradient_norm", "Gradient norm, before clipping", True),
    ("tokens_per_second", "Tokens per second", False),
    ("gradient_noise_scale", "Gradient noise scale, in rows", True),
)


class RunReport:
    """One run.

    Args:
        workdir: folder of the run.
        name: by which the page calls it.
        colour: of its curves.
    Raises:
        UserError: `workdir` holds no run, or one whose log has no steps yet.
    """

    def __init__(self, workdir: str, name: str, colour: str = COLOURS[0]) -> None:
        self.workdir, self.name, self.colour = workdir, name, colour
        self.run = Run.open(workdir)
        self.config = self.run.config
        self.records = read_log(workdir)
        self.steps = [record for record in self.records if "seconds" in record]
        self.evaluations = [
            record for record in self.records if any(name.startswith("eval_") for name in record)
        ]
        if not self.steps:
            found = "log.jsonl has no steps" if self.records else "there is no log.jsonl with steps"
            raise UserError(
                f"{workdir!r} has nothing to report yet: {found}. `tflm train --workdir={workdir}` goes on with it."
            )
        self.starts = self._read(STARTS_FILE)
        self.samples = self._read(SAMPLES_FILE)
        self.bad_steps = self._read(STEPS_FILE)
        self.energy = last_of_each_start(self._read(ENERGY_FILE))

    @property
    def step(self) -> int:
        """The last one in the log."""
        return int(self.steps[-1]["step"])

    @property
    def state(self) -> str:
        """Whether the run is complete."""
        last = self.config.training.num_steps
        if self.step >= last:
            return f"complete, {last:,} steps"
        return f"step {self.step:,} of {last:,}"

    @property
    def config_json(self) -> str:
        """The resolved config."""
        return json.dumps(to_dict(self.config), indent=2, ensure_ascii=False)

    @functools.cached_property
    def measures(self) -> list[tuple[str, float, float, int]]:
        """Of each held-out measure its name, its last value, its best one and the step of that."""
        found = []
        for name in dict.fromkeys(name for record in self.evaluations for name in record):
            if not name.startswith("eval_") or name.startswith("eval_num_"):
                continue
            values = [(record[name], record["step"]) for record in self.evaluations if name in record]
            finite = [pair for pair in values if math.isfinite(pair[0])]
            if finite:
                lower = any(word in name for word in ("loss", "perplexity", "error", "bits"))
                best = (min if lower else max)(finite, key=lambda pair: pair[0])
                found.append((name.removeprefix("eval_").replace("_", " "), values[-1][0], *best))
        return found

    @property
    def loss(self) -> float:
        """The last training loss."""
        return next((float(r["loss"]) for r in reversed(self.steps) if "loss" in r), math.nan)

    @property
    def tokens(self) -> float:
        """Trained tokens, without padding."""
        return float(self.steps[-1]["tokens"])

    @property
    def seconds(self) -> float:
        """Of the training steps, without evaluations and checkpoints."""
        return float(self.steps[-1]["seconds"])

    @property
    def wall_seconds(self) -> float | None:
        """From the first start to the last record, pauses between starts included; None without a record of starts."""
        if not self.starts:
            return None
        begin = datetime.datetime.fromisoformat(self.starts[0]["time"]).timestamp()
        return max(0.0, self.records[-1]["time"] - begin)

    @property
    def tokens_per_second(self) -> float | None:
        """The median over the log."""
        return self._median("tokens_per_second")

    @property
    def share_of_peak(self) -> float | None:
        """The median over the log."""
        return self._median("share_of_peak")

    @functools.cached_property
    def num_parameters(self) -> int | None:
        """Trained ones, as recorded at the last start; None in runs of earlier versions."""
        return next((s["num_parameters"] for s in reversed(self.starts) if "num_parameters" in s), None)

    @property
    def flops(self) -> float | None:
        """6 N D."""
        if self.num_parameters is None:
            return None
        return training_flops_per_token(self.num_parameters) * self.tokens

    @property
    def peak_flops(self) -> float | None:
        """The measured peak of all replicas, in FLOP/s, which shares of the peak in the log are relative to."""
        last = next((r for r in reversed(self.steps) if r.get("share_of_peak")), None)
        if last is None or self.num_parameters is None:
            return None
        return (
            training_flops_per_token(self.num_parameters) * last["tokens_per_second"] / last["share_of_peak"]
        )

    @property
    def num_skipped(self) -> int:
        """Steps without a finite loss or gradient."""
        return int(sum(record.get("skipped_steps", 0) for record in self.steps))

    @property
    def resumed_at(self) -> list[int]:
        """The steps of the checkpoints that the run went on from."""
        return [start["step"] for start in self.starts if 0 < start["step"] < self.step]

    def bad_step_rows(self) -> list[dict[str, Any]]:
        """The last skipped steps and spikes of the loss, each with the beginning of its batch."""
        return [
            {**step, "text": re.sub(_CONTROL, "\ufffd", (step.get("texts") or [""])[0][:120])}
            for step in self.bad_steps[-_MOST_BAD_STEPS:]
        ]

    def sample_groups(self) -> list[dict[str, Any]]:
        """By prompt: `prompt`, `target`, and `texts`, pairs of a step and a text, at up to six evaluations."""
        records = self.samples
        if len(records) > _NUM_SAMPLE_STEPS:
            places = np.linspace(0, len(records) - 1, _NUM_SAMPLE_STEPS).round().astype(int)
            records = [records[place] for place in places]
        groups: dict[str, dict[str, Any]] = {}
        visible = functools.partial(re.sub, _CONTROL, "\ufffd")  # an untrained model of bytes writes any
        for record in records:
            for sample in record["samples"]:
                group = groups.setdefault(
                    sample["prompt"],
                    {
                        "prompt": visible(sample["prompt"]),
                        "target": visible(sample.get("target", "")),
                        "texts": [],
                    },
                )
                group["texts"].append((record["step"], visible(sample["text"])))
        return list(groups.values())

    def data_rows(self) -> list[dict[str, Any]]:
        """Of each side: examples, tokens, and the fingerprint that its tokens are kept under."""
        rows = []
        for side in ("train", "eval"):
            folder = os.path.join(self.workdir, "data", side)
            if os.path.isdir(folder):
                store = TokenStore(folder)
                names = [name for name in ("token_ids", "source_ids") if name in store.features]
                tokens = sum(int(store.values(name).shape[0]) for name in names)
                rows.append(
                    {
                        "side": {"train": "training", "eval": "held-out"}[side],
                        "examples": store.num_rows,
                        "tokens": tokens,
                        "fingerprint": store.fingerprint,
                    }
                )
        return rows

    @property
    def masked(self) -> list[tuple[str, str]]:
        """Side and counts of masked personal data; empty where nothing is masked."""
        names = {"train": "training", "eval": "held-out"}
        return [(names[split], masked_text(counts)) for split, counts in masked_counts(self.workdir).items()]

    @functools.cached_property
    def padding_share(self) -> float | None:
        """The share of padding in the first training batches; None where tokens or vocabulary are missing."""
        folders = (os.path.join(self.workdir, name) for name in ("tokenizer", "data/train"))
        if not all(map(os.path.isdir, folders)):
            return None
        training, run = self.config.training, self.run
        try:
            store = TokenStore(os.path.join(self.workdir, "data", "train"))
            batches = run.task.batches(store, training.global_batch_size, training.seed, True)
        except UserError:
            return None
        padded = total = 0
        for batch in batches.dataset().take(min(_NUM_BATCHES, training.num_steps)):
            for name in ("token_ids", "source_ids"):
                if name in batch:
                    ids = batch[name].numpy()
                    padded, total = padded + int((ids == store.pad_id).sum()), total + ids.size
        return padded / total if total else None

    def points(self, name: str) -> list[tuple[float, float]]:
        """Of a field of the log, where it is finite."""
        return [
            (record["step"], record[name])
            for record in self.records
            if name in record and math.isfinite(record[name])
        ]

    def _median(self, name: str) -> float | None:
        values = [record[name] for record in self.steps if name in record]
        return float(np.median(values)) if values else None

    def _read(self, name: str) -> list[dict[str, Any]]:
        return read_records(os.path.join(self.workdir, name))


def last_of_each_start(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each start: earlier ones are of the same measurement."""
    return list({(record["start"], record["start_step"]): record for record in records}.values())


def panels(reports: Sequence[RunReport]) -> list[Panel]:
    """The curves of the page: loss, held-out measures, learning rate, gradient norm, speed, gradient noise scale."""
    single = len(reports) == 1
    marks = reports[0].resumed_at if single else []

    def curves(names: Sequence[str], only_dots: bool = False) -> list[Curve]:
        made = []
        for report, name in itertools.product(reports, names):
            if points := report.points(name):
                is_held_out = name.startswith("eval_")
                colour = COLOURS[1] if single and is_held_out else report.colour
                made.append(Curve(points, colour, has_dots=is_held_out))
        return made

    title = "Loss: training (thin), held out (dots)"
    found = [Panel(title, curves(["loss", "eval_loss"]), marks=marks)]
    names = dict.fromkeys(name for report in reports for record in report.evaluations for name in record)
    for name in names:
        if name.startswith("eval_") and not name.startswith(("eval_num_", "eval_loss", "eval_perplexity")):
            text = name.removeprefix("eval_").replace("_", " ")
            found.append(Panel(f"Held out: {text}", curves([name]), marks=marks))
    for name, title, log_scale in _TRAIN_PANELS:
        found.append(Panel(title, curves([name]), log_scale, marks))
    return [panel for panel in found if panel.curves]


def read_reports(workdirs: Sequence[str]) -> list[RunReport]:
    """What the page shows of each run.

    Raises:
        UserError: one holds no run or no steps yet, or a file is damaged.
    """
    short = [os.path.basename(os.path.normpath(folder)) for folder in workdirs]
    names = short if len(set(short)) == len(short) else list(workdirs)
    return [
        RunReport(folder, name, COLOURS[place % len(COLOURS)])
        for place, (folder, name) in enumerate(zip(workdirs, names, strict=True))
    ]


def write_run_page(reports: Sequence[RunReport], output: str) -> None:
    """Writes one HTML page without scripts and other files.

    Args:
        reports: of one run; or of several, which the page compares.
        output: the file.
    Raises:
        UserError: the page cannot be written.
    """
    page = _template().render(
        reports=reports,
        panels=[(panel.title, curves_svg(panel)) for panel in panels(reports)],
        now=datetime.datetime.now(datetime.UTC),
    )
    with (
        writing(f"the page {output!r}"),
        whole_file(output) as aside,
        open(aside, "w", encoding="utf-8") as file,
    ):
        file.write(page)


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Callable[[Any], str]] = {
        "command": command_line,
        "count": lambda value: f"{value:,.0f}",
        "lang": language_of,
        "measure": lambda value: f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}",
        "percent": lambda value: f"{100 * value:.3g}%",
        "scientific": scientific,
        "short": _short,
        "duration": duration,
    }
    environment.filters |= filters
    return environment.get_template("run_report.html")


def command_line(arguments: Sequence[str]) -> str:
    """
    >>> command_line(["/venv/tflm/__main__.py", "train", "--set", "data.path=my poems.txt"])
    "tflm train --set 'data.path=my poems.txt'"
    """
    program, *rest = arguments
    names = [os.path.basename(program), *rest]
    if names[0] == "__main__.py":
        names[0] = os.path.basename(os.path.dirname(program))
    return shlex.join(names)


def language_of(text: str) -> str:
    """The attribute `lang` by script: zh, ja, ko, or "" for that of the page.

    >>> language_of("你好"), language_of("こんにちは"), language_of("hello")
    ('zh', 'ja', '')
    """
    scripts = (("ja", KANA), ("ko", HANGUL), ("zh", HAN))
    return next((name for name, characters in scripts if re.search(f"[{characters}]", text)), "")


def scientific(value: float) -> str:
    """
    >>> scientific(1.234e15)
    '1.23 × 10¹⁵'
    """
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('0123456789-', '⁰¹²³⁴⁵⁶⁷⁸⁹⁻'))}"


def duration(seconds: float) -> str:
    """
    >>> duration(59.4), duration(3725)
    ('59 s', '1 h 2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _short(value: float) -> str:
    """
    >>> _short(1234567)
    '1.23M'
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
