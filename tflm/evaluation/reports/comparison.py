"""Comparison of runs: training cost, metrics with confidence intervals, notes on comparability; and of two reports."""

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.metrics.intervals import Interval, bootstrap, paired_bootstrap
from tflm.evaluation.reports.report_page import example_scores

Measure = Interval | float
"""A metric, with its confidence interval if known."""

_EXCLUDED = re.compile("^num_|_precision$|_recall$")
_BLOCK = 256  # tokens per bootstrap block: losses of neighboring tokens are not independent
_NUM_BLOCKS = 100  # minimum number of blocks, with fewer tokens each on a small held-out split


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """One row of the comparison."""

    name: str
    model: str
    """The kind of model."""
    task: str
    """The kind of task."""
    num_parameters: int
    measures: Mapping[str, Measure]
    """Metrics on the held-out split."""
    steps: int | None = None
    """Training steps."""
    tokens: float | None = None
    """Training tokens, including repetitions."""
    seconds: float | None = None
    """Training time."""
    held_out_id: str = ""
    """Fingerprint of the held-out split."""
    tokenizer_id: str = ""
    """Fingerprint of the tokenizer."""


def language_measures(losses: np.ndarray, num_bytes: int, num_characters: int) -> dict[str, Measure]:
    """Loss, perplexity, bits per byte and bits per character, with block bootstrap intervals.

    Bits per byte compare models with different tokenizers: total nats / (bytes * ln 2).

    Args:
        losses: float [N], from `token_losses`.
        num_bytes: int, UTF-8 bytes of the text of these tokens.
        num_characters: int, characters of the same text.
    """
    loss = bootstrap(*_blocks(losses))
    return {
        "loss": loss,
        "perplexity": Interval(*(math.exp(min(value, 700.0)) for value in loss)),
        **{
            name: Interval(*(value * scale for value in loss))
            for name, scale in _bits(len(losses), num_bytes, num_characters).items()
        },
    }


def loss_difference(losses: np.ndarray, others: np.ndarray) -> Interval:
    """Mean of `losses - others` with a paired block bootstrap interval. Pairing removes the variance of block
    difficulty, so this interval can exclude 0 even if the intervals of both models overlap.

    Args:
        losses, others: float [N], from `token_losses`, over the same tokens in the same order.
    """
    return bootstrap(*_blocks(np.subtract(losses, others, dtype=np.float64)))


def logged_measures(
    records: Sequence[Mapping[str, Any]], num_bytes: int = 0, num_characters: int = 0
) -> dict[str, float]:
    """Metrics of the last evaluation in a training log, without intervals.

    >>> logged_measures([{"step": 5, "loss": 3.0}, {"step": 5, "eval_loss": 3.2, "eval_num_tokens": 90.0}])
    {'loss': 3.2}

    Args:
        records: from `tflm.training.read_log`.
        num_bytes, num_characters: see `language_measures`; 0 if the loss is not over all tokens of a text.
    """
    last = next((record for record in reversed(records) if "eval_loss" in record), dict[str, Any]())
    names = [name for name in last if name.startswith("eval_") and not name.startswith("eval_num_")]
    found = {name.removeprefix("eval_"): float(last[name]) for name in names}
    if num_bytes and "eval_num_tokens" in last:
        scales = _bits(last["eval_num_tokens"], num_bytes, num_characters)
        found.update({name: found["loss"] * scale for name, scale in scales.items()})
    return found


def reported_measures(report: Mapping[str, Any]) -> dict[str, Measure]:
    """Metrics of a `report.json` of `tflm evaluate`, sections `held_out` and `this model`.

    Counts, precisions and recalls are excluded to limit the width of the table.

    >>> reported_measures({"this model": {"accuracy": 0.9, "accuracy_interval": [0.85, 0.95]}})
    {'accuracy': Interval(mean=0.9, low=0.85, high=0.95)}
    """
    found: dict[str, Measure] = {}
    for section in ("held_out", "this model"):
        values = report.get(section, {})
        for name, value in values.items():
            if isinstance(value, int | float) and not _EXCLUDED.search(name):
                interval = values.get(f"{name}_interval")
                found[name] = Interval(value, *interval) if interval else float(value)
    return found


def training_cost(records: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    """`tokens` and `seconds` of training up to a step, if logged."""
    past = [record for record in records if record["step"] <= step and "loss" in record]
    return {name: past[-1][name] for name in ("tokens", "seconds") if past and name in past[-1]}


def comparison_notes(runs: Sequence[ComparedRun]) -> list[str]:
    """Notes on differences that limit the comparison: tasks, held-out data, tokenizers."""
    notes = []
    if len({run.task for run in runs}) > 1:
        notes.append("The runs have different tasks: their losses are of different things.")
    if others := _unlike_first(runs, "held_out_id"):
        notes.append(
            f"The held-out side of {others} is not, or not for certain, that of {runs[0].name}: the measures may "
            "not compare."
        )
    if others := _unlike_first(runs, "tokenizer_id"):
        notes.append(
            f"The tokenizer of {others} is not that of {runs[0].name}: a token is something else, so compare bits a "
            "byte, not loss or perplexity."
        )
    return notes


def comparison_cells(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """The lines of the table: the header, then one line per run. A measure that a run lacks is "–".

    Raises:
        UserError: no runs.
    """
    if not runs:
        raise UserError("there are no runs to compare: give one folder at least.")
    names = list(dict.fromkeys(name for run in runs for name in run.measures))
    header = ["name", "model", "parameters", "steps", "tokens", "wall clock"]
    lines = [header + [name.replace("_", " ") for name in names]]
    for run in runs:
        clock = None if run.seconds is None else str(datetime.timedelta(seconds=round(run.seconds)))
        cells = [run.name, run.model, _whole(run.num_parameters)]
        cells += [_whole(run.steps), _whole(run.tokens), clock or "–"]
        lines.append(cells + [_shown(run.measures.get(name)) for name in names])
    return lines


def interval_note(runs: Sequence[ComparedRun]) -> list[str]:
    """The line that explains the brackets, if there are any."""
    has_intervals = any(isinstance(value, Interval) for run in runs for value in run.measures.values())
    return ["In brackets: 95% bootstrap intervals over the held-out side."] if has_intervals else []


def comparison_table(runs: Sequence[ComparedRun], notes: Sequence[str]) -> str:
    """A Markdown table with one row per run, followed by the notes.

    Raises:
        UserError: no runs.
    """
    header, *lines = ([cell.replace("|", "\\|") for cell in line] for line in comparison_cells(runs))
    marks = ["---", "---", *["---:"] * (len(header) - 2)]
    rows = ["| " + " | ".join(line) + " |" for line in (header, marks, *lines)]
    return "\n".join([*rows, *(f"\n{note}" for note in (*interval_note(runs), *notes))])


def comparison_record(runs: Sequence[ComparedRun], notes: Sequence[str]) -> dict[str, Any]:
    """The comparison as JSON-compatible values; an interval becomes `{"mean", "low", "high"}`."""
    rows = []
    for run in runs:
        measures = {
            name: value._asdict() if isinstance(value, Interval) else value
            for name, value in run.measures.items()
        }
        rows.append({**dataclasses.asdict(run), "measures": measures})
    return {"runs": rows, "notes": list(notes)}


def _bits(num_tokens: float, num_bytes: int, num_characters: int) -> dict[str, float]:
    """Conversion factors from nats per token."""
    counts = {"bits_per_byte": num_bytes, "bits_per_character": num_characters}
    return {name: num_tokens / (count * math.log(2)) for name, count in counts.items()}


def _blocks(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean losses of blocks of consecutive tokens, and the number of tokens in each block."""
    length = max(1, min(_BLOCK, len(losses) // _NUM_BLOCKS))
    starts = np.arange(0, len(losses), length)
    sizes = np.diff(np.append(starts, len(losses))).astype(np.float64)
    sums = np.add.reduceat(np.asarray(losses, np.float64), starts) if len(losses) else np.zeros(0)
    return sums / sizes, sizes


def _unlike_first(runs: Sequence[ComparedRun], field: str) -> str:
    first = getattr(runs[0], field)
    return ", ".join(run.name for run in runs if getattr(run, field) != first)


def _whole(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _shown(value: Measure | None) -> str:
    """Four significant digits of the mean; the bounds of the interval have the same number of decimals."""
    if value is None:
        return "–"
    numbers = value if isinstance(value, Interval) else (value,)
    size = math.floor(math.log10(abs(numbers[0]))) if numbers[0] and math.isfinite(numbers[0]) else 0
    mean, *ends = (f"{number:,.{max(0, 3 - size)}f}" for number in numbers)
    return f"{mean} [{', '.join(ends)}]" if ends else mean


_KEYS = ("source", "target", "text", "text_pair", "label", "spans")


def compare_reports(report: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Mean difference of per-example scores with its 95% interval, and a paired bootstrap test.

    Args:
        report, other: reports of `tflm evaluate` with `texts`.
    Returns:
        `measure`, the per-example metric (see `example_scores`); its mean for `this` and `other`; `difference` and
        `difference_interval`; and `p_value` of the one-sided test that `this` is better (Koehn, 2004, section 4).
    Raises:
        UserError: a report has no texts, or the reports differ in examples, in the metric, or, for language models, in
            the tokenization.
    """
    texts, others = (each.get("texts", []) for each in (report, other))
    if not texts or not others:
        raise UserError(
            "runs are compared by the texts of their reports, and one has none: this kind of task, or an older "
            "tflm evaluate. Language models are compared by tflm compare, too."
        )
    ours, theirs = ([{key: text.get(key) for key in _KEYS} for text in side] for side in (texts, others))
    if ours != theirs:
        raise UserError(
            f"the two reports are over different examples ({len(texts):,} and {len(others):,}): measure both runs on "
            "the same data, with the same --split and --limit."
        )
    (measure, scores), (other_measure, other_scores) = (
        example_scores(each["texts"], each.get("text_score", "")) for each in (report, other)
    )
    if measure != other_measure:
        raise UserError(f"one report is measured by {measure}, the other by {other_measure}.")
    if any(a.get("num_tokens") != b.get("num_tokens") for a, b in zip(texts, others, strict=True)):
        raise UserError(
            "the two models cut the texts into different tokens, so a token of one is not one of the other: compare "
            "them by tflm compare, which counts bytes."
        )
    difference = bootstrap(scores - other_scores)
    return {
        "measure": measure,
        "this": float(scores.mean()),
        "other": float(other_scores.mean()),
        "difference": difference.mean,
        "difference_interval": [difference.low, difference.high],
        "p_value": paired_bootstrap(scores, other_scores),
    }
