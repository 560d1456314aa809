"""Runs and exports of one task next to each other: size, memory, speed, quality. Behind `tflm compress --report`."""

import dataclasses
import datetime
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from tflm.errors import UserError
from tflm.evaluation import COLOURS, Interval, Point, pareto_front, pareto_svg, reported_measures
from tflm.experiments.evaluate_run import Evaluation, EvaluationOptions
from tflm.experiments.measured import Measured
from tflm.export.weights import read_weights
from tflm.files.writing import whole_file, writing

_ROUNDS, _LEAST_SECONDS = 9, 0.2
"""Turns in which speed is measured, and how long each model answers in a turn at least."""
_MEASURES = ("accuracy", "micro_f1", "f1", "bleu", "rougeL", "reciprocal_rank", "exact_match", "perplexity")
"""The first of these that a task's report has is its quality; without one, the report's first measure."""
_SHARES = ("accuracy", "micro_f1")
_LOWER = re.compile("loss|perplexity|error|bits")
MemoryFn = Callable[[str, str, Mapping[str, Any]], int | None]
"""Path, signature and inputs to the bytes that a model takes; see `tflm.resident_memory.memory_of`."""


@dataclasses.dataclass(frozen=True)
class ComparedModel:
    """What is measured."""

    path: str
    """As the user wrote it."""
    measured: Measured


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """A model in the report."""

    path: str
    kind: str
    """run or export, and its family of models."""
    num_parameters: int
    share_of_zeros: float
    """Of its weights."""
    size_bytes: int
    """Of an export all of its files; of a run its weights in float32."""
    memory_bytes: int | None
    """What loading it and answering one batch adds to the memory of a process."""
    examples_per_second: float
    """Median over turns."""
    speed_range: tuple[float, float]
    """The quartiles of the turns."""
    measure: str
    quality: Interval
    num_examples: int
    on_front: bool = False
    """Whether no other model is smaller and better."""

    @property
    def lower_is_better(self) -> bool:
        """Of the measure."""
        return bool(_LOWER.search(self.measure))

    @property
    def title(self) -> str:
        """Of the measure, for the eye."""
        return self.measure.replace("_", " ") + (", %" if self.measure in _SHARES else "")

    @property
    def shown_quality(self) -> Interval:
        """In percent where it is a share."""
        factor = 100.0 if self.measure in _SHARES else 1.0
        return Interval(*(factor * value for value in self.quality))


def compare(
    entries: Sequence[ComparedModel],
    options: EvaluationOptions,
    memory_fn: MemoryFn | None = None,
    note_fn: Callable[[str], None] = lambda text: None,
) -> list[ModelRow]:
    """Measures models of one task on the same examples.

    Args:
        entries: at least one; without `options.data`, the held-out side of the first one's data is for all.
        options: on what, and how.
        memory_fn: measures memory; None to leave it out.
        note_fn: called with lines for the user.
    Raises:
        UserError: they are of different tasks; or an evaluation fails.
    """
    kinds = {entry.measured.config.task.kind for entry in entries}
    if len(kinds) > 1:
        raise UserError(
            f"--models are of different tasks: {', '.join(sorted(kinds))}. Compare models of one task."
        )
    first, evaluated = entries[0].measured, []
    for entry in entries:
        note_fn(f"measuring {entry.path}")
        recorder = _Recorder(entry.measured)
        same = dataclasses.replace(entry.measured.config, data=first.config.data)
        measured = dataclasses.replace(entry.measured, config=same, find_fn=recorder.find)
        evaluated.append((entry, recorder, _Answers(measured, options).report()))
    speeds = _in_turns([recorder for _, recorder, _ in evaluated])
    rows = []
    for (entry, recorder, report), turns in zip(evaluated, speeds, strict=True):
        name, quality = _quality(report)
        memory = memory_fn(entry.path, recorder.signature, recorder.columns) if memory_fn else None
        quartiles = np.percentile(turns, (25, 75))
        rows.append(
            ModelRow(
                entry.path,
                f"{'export' if entry.measured.run is None else 'run'}, {entry.measured.config.model.kind}",
                *_weights_of(entry.measured),
                memory,
                statistics.median(turns),
                (float(quartiles[0]), float(quartiles[1])),
                name,
                quality,
                len(report["texts"]),
            )
        )
    front = pareto_front(_points(rows), rows[0].lower_is_better)
    return [dataclasses.replace(row, on_front=own) for row, own in zip(rows, front, strict=True)]


class _Answers(Evaluation):
    """The task's report alone: the loss of training is over other rows."""

    def report(self) -> dict[str, Any]:
        """What the model answers, measured."""
        assert self.facts
        if self.task_report is None:
            raise UserError(
                f"models of the task {self.measured.config.task.kind} have no report, and so no quality to compare."
            )
        return self._report(self.task_report)


class _Recorder:
    """Keeps the function of the first signature that answers, and its first batch."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self.signature, self.columns = "", dict[str, Any]()
        self.answer: Callable[[Any], Any] = lambda columns: None

    def find(self, name: str) -> Any:
        """As `Measured.find_fn`."""
        function = self._measured.find_fn(name)

        def answer(columns: Any) -> Any:
            if not self.signature:
                plain = {key: [_plain(value) for value in column] for key, column in columns.items()}
                self.signature, self.columns, self.answer = name, plain, function
            return function(columns)

        return answer


def _in_turns(recorders: Sequence[_Recorder]) -> list[list[float]]:
    """Examples a second of each model in each of the turns: all models answer before the first answers again, so that
    other load on the machine meets all of them."""
    counts, speeds = [], [[] for _ in recorders]  # type: ignore[var-annotated]
    for recorder in recorders:
        begin = time.perf_counter()
        recorder.answer(recorder.columns)
        counts.append(1 + int(_LEAST_SECONDS / max(1e-6, time.perf_counter() - begin)))
    for _ in range(_ROUNDS):
        for recorder, count, found in zip(recorders, counts, speeds, strict=True):
            begin = time.perf_counter()
            for _ in range(count):
                recorder.answer(recorder.columns)
            num_examples = count * len(next(iter(recorder.columns.values())))
            found.append(num_examples / (time.perf_counter() - begin))
    return speeds


def _quality(report: Mapping[str, Any]) -> tuple[str, Interval]:
    measures = reported_measures({"this model": report["this model"]})
    with_ends = {name: value for name, value in measures.items() if isinstance(value, Interval)}
    name = next((name for name in _MEASURES if name in with_ends), next(iter(with_ends), ""))
    if not name:
        raise UserError("the task's report has no measure with an interval.")
    return name, with_ends[name]


def _weights_of(measured: Measured) -> tuple[int, float, int]:
    """Number of parameters, the share of zeros among them, and bytes."""
    if measured.run is None:
        weights = [np.asarray(value) for value in read_weights(measured.facts["model"]).values()]
        size = measured.facts["size_bytes"]
    else:
        weights = [np.asarray(weight) for weight in measured.model.weights]
        size = sum(weight.nbytes for weight in weights)
    count = sum(weight.size for weight in weights)
    zeros = count - sum(int(np.count_nonzero(weight)) for weight in weights)
    return count, zeros / max(1, count), size


def _points(rows: Sequence[ModelRow]) -> list[Point]:
    return [Point(row.size_bytes / 1e6, row.shown_quality) for row in rows]


def table(rows: Sequence[ModelRow]) -> tuple[list[str], list[list[str]]]:
    """The header and the lines for the eye; a star marks models that no other one beats in size and quality."""
    header = [
        "model",
        "parameters",
        "zeros",
        "MB",
        "memory MB",
        "examples/s",
        rows[0].title,
    ]
    lines = []
    for number, row in enumerate(rows, start=1):
        mean, low, high = row.shown_quality
        memory = "–" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:,.0f}"
        lines.append(
            [
                f"{number} {row.path}{' *' if row.on_front else ''}",
                f"{row.num_parameters:,}",
                f"{100 * row.share_of_zeros:.0f}%",
                f"{row.size_bytes / 1e6:,.2f}",
                memory,
                f"{row.examples_per_second:,.0f}",
                f"{mean:.2f} [{low:.2f}, {high:.2f}]",
            ]
        )
    return header, lines


def write_compression_report(rows: Sequence[ModelRow], folder: str, data: str) -> list[str]:
    """Writes compression.html, a page without scripts, and compression.json.

    Args:
        rows: from `compare`.
        folder: made if it is not there.
        data: what was measured on, for the page.
    Returns:
        The paths of both files.
    Raises:
        UserError: they cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    lower = rows[0].lower_is_better
    speeds = [Point(1000.0 / row.examples_per_second, row.shown_quality) for row in rows]
    page = environment.get_template("compression_report.html").render(
        table=table(rows),
        rows=rows,
        colours=COLOURS,
        data=data,
        pictures=[
            ("Quality over size", pareto_svg(_points(rows), "size in MB", rows[0].title, lower)),
            ("Quality over time", pareto_svg(speeds, "milliseconds per example", rows[0].title, lower)),
        ],
        now=datetime.datetime.now(datetime.UTC),
    )
    record = json.dumps([dataclasses.asdict(row) for row in rows], indent=2, ensure_ascii=False)
    written = []
    for name, content in (("compression.html", page), ("compression.json", record + "\n")):
        path = os.path.join(folder, name)
        with writing(f"the report {path!r}"):
            os.makedirs(folder, exist_ok=True)
            with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
                file.write(content)
        written.append(path)
    return written


def _plain(value: Any) -> Any:
    """A value of a request as JSON has it."""
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
