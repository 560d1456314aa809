"""The evaluation loop: a compiled step over one pass of batches. Training, evaluation and metrics all use it."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tflm.data.batching.batches import Batches
from tflm.progress import track

EvalBatches = Batches | Mapping[str, Batches]
"""Evaluation batches; of a mixture those of each source, by its name."""
Metrics = dict[str, float]


def run_eval_loop(
    step_fn: Callable[[Any], Any],
    batches: Iterable[Any],
    max_batches: int = 0,
    *,
    num_batches: int | None = None,
    description: str = "",
) -> Iterator[Any]:
    """Yields `step_fn(batch)` for each batch of one pass.

    >>> list(run_eval_loop(lambda batch: 2 * batch, [1, 2, 3], max_batches=2))
    [2, 4]

    Args:
        step_fn: the compiled evaluation step.
        batches: a finite dataset, or one distributed by a strategy.
        max_batches: stop after this many batches; 0 for all.
        num_batches: length of the progress bar.
        description: label of the progress bar, shown after two seconds; "" for no bar.
    """
    batches = itertools.islice(batches, max_batches or None)
    if description:
        batches = track(batches, description, "batches", num_batches)
    return map(step_fn, batches)


def sum_over_batches(
    step_fn: Callable[[Any], Mapping[str, Any]], batches: Iterable[Any], max_batches: int = 0
) -> dict[str, float]:
    """The sums of the scalars that `step_fn` returns for each batch; the input of `Task.metrics`.

    >>> sum_over_batches(lambda batch: {"weight": batch}, [1.0, 2.0])
    {'weight': 3.0}

    Args:
        step_fn: the compiled evaluation step, from a batch to named scalars.
        batches: see `run_eval_loop`.
        max_batches: see `run_eval_loop`.
    """
    sums: dict[str, float] = {}
    for outputs in run_eval_loop(step_fn, batches, max_batches):
        for name, value in outputs.items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def metrics_by_source(
    sums_fn: Callable[[Batches], Metrics], metrics_fn: Callable[[Metrics], Metrics], batches: EvalBatches
) -> tuple[Metrics, dict[str, Metrics]]:
    """The metrics of all batches together, and those of each source of a mixture.

    Args:
        sums_fn: batches to the sums of one pass; see `sum_over_batches`.
        metrics_fn: sums to metrics; see `Task.metrics`.
        batches: of one source, or of each by name.
    Returns:
        The metrics, of a mixture with `name_loss` of each source, in lower case; and source to its own metrics, empty
        for a single source.
    """
    if not isinstance(batches, Mapping):
        return metrics_fn(sums_fn(batches)), {}
    total: Metrics = {}
    by_source: dict[str, Metrics] = {}
    for name, each in batches.items():
        sums = sums_fn(each)
        total = {key: total.get(key, 0.0) + value for key, value in sums.items()}
        by_source[name] = metrics_fn(sums)
    losses = {f"{name.lower()}_loss": metrics["loss"] for name, metrics in by_source.items()}
    return {**metrics_fn(total), **losses}, by_source
