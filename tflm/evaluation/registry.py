"""The registered reports of `tflm evaluate`, and the metrics of generated texts.

@register_metric("exact_match")          # then: tflm train --set task.measure=exact_match
def exact_match(targets, outputs, tokenizer=""):
    return averaged({"exact_match": [100.0 * (a == b) for a, b in zip(targets, outputs)]})
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tflm.evaluation.metrics.intervals import bootstrap
from tflm.registry import Registry
from tflm.tasks.registry import METRICS

ReportFn = Callable[[Any, Sequence[dict[str, str]], Any], dict[str, Any]]
"""`Signatures`, examples and the config of the task to a report: `this model` with its measures, each a float, with
`NAME_interval`, the ends of its 95% interval; `texts` with every example, its `answer` and its score; and what else
there is."""

REPORT_FNS: Registry[ReportFn] = Registry("report", "register_report", "tflm.evaluation")
register_report = REPORT_FNS.register


class TextScores(NamedTuple):
    """What a metric says of generated texts."""

    measures: dict[str, Any]
    """Name to a float, and NAME_interval to the ends of its 95% interval."""
    name: str
    """Of the scores of single texts."""
    by_text: np.ndarray
    """float [N]: the score of each text."""
    signatures: Mapping[str, str] = {}
    """What belongs to the numbers: the version and the settings of the package that computes them."""
    has_baseline: bool = False
    """Whether the first sentence of the source is a baseline."""


MetricFn = Callable[..., TextScores]
"""N targets and N outputs to scores; the keyword `tokenizer` says how words are found, "" for by script."""

register_metric = METRICS.register


def averaged(scores: Mapping[str, Sequence[float] | np.ndarray]) -> TextScores:
    """The means of scores of single texts, with their 95% intervals; the first of them is shown with each text.

    >>> averaged({"exact_match": [100.0, 0.0]}).measures["exact_match"]
    50.0

    Args:
        scores: name to N numbers.
    """
    measures: dict[str, Any] = {}
    for name, values in scores.items():
        measures[name], *measures[f"{name}_interval"] = bootstrap(np.asarray(values, np.float64))
    first = next(iter(scores))
    return TextScores(measures, first, np.asarray(scores[first], np.float64))
