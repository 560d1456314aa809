"""Span metrics for tagging: precision, recall and F1 as in conlleval of CoNLL."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tflm.data.labels import one_spelling
from tflm.errors import UserError
from tflm.evaluation.metrics.resampling import add_f1_intervals
from tflm.evaluation.registry import register_report
from tflm.evaluation.reports.answers import AnswerFn, Signatures
from tflm.tasks.tagging import read_spans

Span = tuple[int, int, str]


def span_scores(wanted: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]) -> dict[str, Any]:
    """Precision, recall and F1 of spans; a span is correct if start, end and label match (Tjong Kim Sang and De
    Meulder, 2003, section 2.3).

    Micro averages count all spans and are the numbers that papers report; macro averages are means over the labels.
    Undefined ratios are 0.

    >>> span_scores([[(0, 2, "ORG"), (5, 7, "LOC")]], [[(0, 2, "ORG"), (5, 8, "LOC")]])["micro_f1"]
    0.5

    Args:
        wanted: gold spans (start, end, label) of N texts.
        found: predicted spans in the same order.
    Returns:
        `micro_precision`, `micro_recall`, `micro_f1`, the same with `macro_`, all in [0, 1]; and `per_label`:
        `precision`, `recall`, `f1` and `support` (number of gold spans) of each label.
    Raises:
        UserError: the numbers of texts differ or are 0.
    """
    if not wanted or len(wanted) != len(found):
        raise UserError(
            f"found {len(wanted)} texts with gold spans and {len(found)} with predicted spans; expected equal numbers, "
            "at least one each."
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
    """The report of a tagger.

    Args:
        tag_fn: maps `text` to `start`, `end`, `label` [N, S] and `num_spans` [N].
        examples: {"text", "spans"}.
    Returns:
        `this model`, the metrics of `span_scores`, each with its 95% interval `NAME_interval` over texts; and `texts`,
        each example with its `answer`, a JSON list like `spans`, and its `f1`, which is 1 without gold and predicted
        spans.
    """
    outputs = tag_fn({"text": [example["text"] for example in examples]})
    columns = [outputs[name].tolist() for name in ("num_spans", "start", "end", "label")]
    spans: list[list[Span]] = [list(zip(*parts))[:count] for count, *parts in zip(*columns)]
    wanted = [read_spans(example) for example in examples]
    spelling = one_spelling({label for side in (wanted, spans) for row in side for _, _, label in row})
    wanted, spans = (
        [[(start, end, spelling[label]) for start, end, label in row] for row in side]
        for side in (wanted, spans)
    )
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
    """float64 [N, C]: number of spans of each label in each text."""
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


@register_report("spans")
def _spans_report(fns: Signatures, examples: Sequence[dict[str, str]], config: Any) -> dict[str, Any]:
    """`report_spans` by the signature `tag`."""
    del config
    return report_spans(fns("tag"), examples)
