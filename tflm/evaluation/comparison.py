"""Runs side by side: what each cost, how good it is with what certainty, and what forbids to compare them."""

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.intervals import Interval, bootstrap

Measure = Interval | float
"""A number, with its interval where there is one."""

_UNTOLD = re.compile("^num_|_precision$|_recall$")
_BLOCK = 256  # tokens that stand or fall together: neighbours in a text are not independent
_NUM_BLOCKS = 100  # of a small held-out side at least, even if they are shorter


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
    """On the held-out side."""
    steps: int | None = None
    tokens: float | None = None
    """Trained on, repetitions counted."""
    seconds: float | None = None
    """Of training."""
    held_out_id: str = ""
    """Stands for the held-out side."""
    tokenizer_id: str = ""
    """Stands for the tokenizer."""


def language_measures(losses: np.ndarray, num_bytes: int, num_characters: int) -> dict[str, Measure]:
    """Loss, perplexity, and bits a byte and a character, with intervals by drawing blocks of tokens anew.

    Bits a byte compare models with different tokenizers: nats a token times tokens, over bytes and ln 2.

    Args:
        losses: float [N], as of `token_losses`.
        num_bytes: of the text that these tokens stand for, in UTF-8.
        num_characters: of the same text.
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
    """Mean of `losses - others` over the same tokens, by drawing the same blocks for both. An interval without 0
    tells more than two that do not overlap: what makes a block hard for both models cancels out.

    Args:
        losses, others: float [N], as of `token_losses`, over the same tokens in the same order.
    """
    return bootstrap(*_blocks(np.subtract(losses, others, dtype=np.float64)))


def logged_measures(
    records: Sequence[Mapping[str, Any]], num_bytes: int = 0, num_characters: int = 0
) -> dict[str, float]:
    """What the last evaluation in a log says, without intervals.

    >>> logged_measures([{"step": 5, "loss": 3.0}, {"step": 5, "eval_loss": 3.2, "eval_num_tokens": 90.0}])
    {'loss': 3.2}

    Args:
        records: as of `tflm.training.read_log`.
        num_bytes, num_characters: as for `language_measures`; 0 where the loss is not of all tokens of a text.
    """
    last = next((record for record in reversed(records) if "eval_loss" in record), dict[str, Any]())
    names = [name for name in last if name.startswith("eval_") and not name.startswith("eval_num_")]
    found = {name.removeprefix("eval_"): float(last[name]) for name in names}
    if num_bytes and "eval_num_tokens" in last:
        scales = _bits(last["eval_num_tokens"], num_bytes, num_characters)
        found.update({name: found["loss"] * scale for name, scale in scales.items()})
    return found


def reported_measures(report: Mapping[str, Any]) -> dict[str, Measure]:
    """Those of `report.json`, which `apps.evaluate` writes: of its sections `held_out` and `this model`.

    Counts, precisions and recalls are left out, which would make the table too wide.

    >>> reported_measures({"this model": {"accuracy": 0.9, "accuracy_interval": [0.85, 0.95]}})
    {'accuracy': Interval(mean=0.9, low=0.85, high=0.95)}
    """
    found: dict[str, Measure] = {}
    for section in ("held_out", "this model"):
        values = report.get(section, {})
        for name, value in values.items():
            if isinstance(value, int | float) and not _UNTOLD.search(name):
                interval = values.get(f"{name}_interval")
                found[name] = Interval(value, *interval) if interval else float(value)
    return found


def training_cost(records: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    """`tokens` and `seconds` up to a step, as far as the log tells."""
    past = [record for record in records if record["step"] <= step and "loss" in record]
    return {name: past[-1][name] for name in ("tokens", "seconds") if past and name in past[-1]}


def comparison_notes(runs: Sequence[ComparedRun]) -> list[str]:
    """What a reader must know before he compares: other tasks, other held-out data, other tokenizers."""
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


def comparison_table(runs: Sequence[ComparedRun], notes: Sequence[str]) -> str:
    """A Markdown table, one run a row, and the notes below it.

    Raises:
        UserError: there are no runs.
    """
    if not runs:
        raise UserError("there are no runs to compare: give one folder at least.")
    names = list(dict.fromkeys(name for run in runs for name in run.measures))
    header = ["name", "model", "parameters", "steps", "tokens", "wall clock"]
    lines = [header + [name.replace("_", " ") for name in names]]
    lines.append(["---", "---", *["---:"] * (len(lines[0]) - 2)])
    for run in runs:
        clock = None if run.seconds is None else str(datetime.timedelta(seconds=round(run.seconds)))
        cells = [run.name.replace("|", "\\|"), run.model, _whole(run.num_parameters)]
        cells += [_whole(run.steps), _whole(run.tokens), clock or "–"]
        lines.append(cells + [_shown(run.measures.get(name)) for name in names])
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    if any(isinstance(value, Interval) for run in runs for value in run.measures.values()):
        notes = ["In brackets: 95% bootstrap intervals over the held-out side.", *notes]
    return "\n".join([*rows, *(f"\n{note}" for note in notes)])


def comparison_record(runs: Sequence[ComparedRun], notes: Sequence[str]) -> dict[str, Any]:
    """The same as plain values for JSON; an interval becomes `{"mean", "low", "high"}`."""
    rows = []
    for run in runs:
        measures = {
            name: value._asdict() if isinstance(value, Interval) else value
            for name, value in run.measures.items()
        }
        rows.append({**dataclasses.asdict(run), "measures": measures})
    return {"runs": rows, "notes": list(notes)}


def _bits(num_tokens: float, num_bytes: int, num_characters: int) -> dict[str, float]:
    """What the loss, in nats a token, is multiplied with."""
    counts = {"bits_per_byte": num_bytes, "bits_per_character": num_characters}
    return {name: num_tokens / (count * math.log(2)) for name, count in counts.items()}


def _blocks(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean losses of blocks of neighbours, and how many tokens each has."""
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
    """Four digits that count, and as many decimals for the ends of an interval as for its mean."""
    if value is None:
        return "–"
    numbers = value if isinstance(value, Interval) else (value,)
    size = math.floor(math.log10(abs(numbers[0]))) if numbers[0] and math.isfinite(numbers[0]) else 0
    mean, *ends = (f"{number:,.{max(0, 3 - size)}f}" for number in numbers)
    return f"{mean} [{', '.join(ends)}]" if ends else mean
