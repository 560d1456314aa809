"""Measures of labelled spans: precision, recall and F1 as CoNLL's conlleval counts them."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.answers import AnswerFn
from tflm.evaluation.resampling import add_f1_intervals
from tflm.tasks.tagging import read_spans

Span = tuple[int, int, str]


def span_scores(wanted: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]) -> dict[str, Any]:
    """Precision, recall and F1 of spans; one is right where start, end and label all are (Tjong Kim Sang and De
    Meulder, 2003, section 2.3).

    Micro counts all spans alike, which is the figure that papers report; macro is the mean over the labels. What has
    nothing to divide by is 0.

    >>> span_scores([[(0, 2, "ORG"), (5, 7, "LOC")]], [[(0, 2, "ORG"), (5, 8, "LOC")]])["micro_f1"]
    0.5

    Args:
        wanted: what is right, a list of (start, end, label) for each of N texts.
        found: what came, in the same order.
    Returns:
        `micro_precision`, `micro_recall`, `micro_f1`, `macro_...` likewise, all from 0 to 1; and `per_label`: of each
        label its `precision`, `recall`, `f1` and `support`, which is how many spans of it are right.
    Raises:
        UserError: the numbers of texts differ, or there are none.
    """
    if not wanted or len(wanted) != len(found):
        raise UserError(
            f"{len(wanted)} texts with spans and {len(found)} answers: give one for each, one at least."
        )
    support, given, correct = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    for right, came in zip(wanted, found):
        right, came = set(right), set(came)
        for counter, spans in ((support, right), (given, came), (correct, right & came)):
            counter.update(label for _, _, label in spans)
    labels = sorted({*support, *given})
    per_label = {name: _scores(correct[name], given[name], support[name]) for name in labels}
    micro = _scores(correct.total(), given.total(), support.total())
    macro = {
        kind: sum(scores[kind] for scores in per_label.values()) / len(labels) if labels else 0.0
        for kind in micro
    }
    return {
        **{f"micro_{kind}": value for kind, value in micro.items()},
        **{f"macro_{kind}": value for kind, value in macro.items()},
        "per_label": {name: {**scores, "support": support[name]} for name, scores in per_label.items()},
    }


def report_spans(tag_fn: AnswerFn, examples: Sequence[dict[str, str]]) -> dict[str, Any]:
    """What a model finds in texts, measured.

    Args:
        tag_fn: answers `start`, `end`, `label` [N, S] and `num_spans` [N] to `text`.
        examples: {"text", "spans"}.
    Returns:
        `this model`, the measures of `span_scores`, each with `NAME_interval`, the ends of its 95% interval over texts;
        and `texts`, each example with its `answer`, like `spans` a JSON list, and its `f1`; 1 where there is nothing to
        find and nothing was found.
    """
    outputs = tag_fn({"text": [example["text"] for example in examples]})
    columns = [outputs[name].tolist() for name in ("num_spans", "start", "end", "label")]
    spans: list[list[Span]] = [list(zip(*parts))[:count] for count, *parts in zip(*columns)]
    wanted = [read_spans(example) for example in examples]
    measures = span_scores(wanted, spans)
    names = list(measures["per_label"])
    both = [list({*right} & {*came}) for right, came in zip(wanted, spans)]
    correct, given, support = (_counts(side, names) for side in (both, spans, wanted))
    add_f1_intervals(measures, correct, given, support, names)
    return {
        "this model": measures,
        "texts": [
            {**example, "answer": json.dumps(each, ensure_ascii=False), "f1": _f1(right, each)}
            for example, right, each in zip(examples, wanted, spans)
        ],
    }


def _counts(side: Sequence[Iterable[Span]], names: list[str]) -> np.ndarray:
    """float64 [N, C]: how many spans of each label each text has."""
    rows = [Counter(label for _, _, label in set(spans)) for spans in side]
    return np.array([[float(row[name]) for name in names] for row in rows])


def _f1(wanted: list[Span], found: list[Span]) -> float:
    return 2 * len({*wanted} & {*found}) / (len(wanted) + len(found)) if wanted or found else 1.0


def _scores(correct: int, given: int, support: int) -> dict[str, float]:
    """
    >>> _scores(correct=1, given=2, support=4)
    {'precision': 0.5, 'recall': 0.25, 'f1': 0.333...}
    """
    return {
        "precision": correct / given if given else 0.0,
        "recall": correct / support if support else 0.0,
        "f1": 2 * correct / (given + support) if given + support else 0.0,
    }
