"""The report of a classifier, and of the logistic regression baseline."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.data.labels import find_spelling, one_spelling
from tflm.evaluation.baselines.logistic_regression import text_regression
from tflm.evaluation.metrics.classification import classification, expected_calibration_error, multi_hot
from tflm.evaluation.metrics.intervals import bootstrap, paired_bootstrap
from tflm.evaluation.metrics.resampling import add_f1_intervals, bootstrap_measures
from tflm.evaluation.registry import register_report
from tflm.evaluation.reports.answers import AnswerFn, Signatures

Examples = Sequence[dict[str, str]]


def report_labels(classify_fn: AnswerFn, examples: Examples, separator: str = "") -> dict[str, Any]:
    """The report of a classifier.

    Args:
        classify_fn: maps `text`, and `text_pair` if the examples have it, to `label`, `scores` and `labels`.
        examples: {"text", "label"} or {"text", "text_pair", "label"}.
        separator: separator of the labels in multi-label classification; "" for single-label.
    Returns:
        `this model`: the metrics of `classification` and the `loss` in nats per example, each with its 95% interval
        `NAME_interval`; and `texts`, each example with its `answer`, its `score` and whether it is `right`. Labels are
        in the spelling of the model: 1.0 becomes 1 if the model has the label 1.
    """
    found = classify_fn({key: [example[key] for example in examples] for key in text_keys(examples)})
    examples = _as_known(examples, found["labels"][0].tolist(), separator)
    labels, predictions = [example["label"] for example in examples], found["label"].tolist()
    measures = _measure(labels, predictions, separator, found["scores"], found["labels"][0].tolist())
    right = _right(labels, predictions, separator)
    rows = zip(examples, predictions, found["scores"], found["labels"].tolist(), right, strict=True)
    texts = [
        {
            **example,
            "answer": answer,
            # Of the label that is chosen; of the likeliest one where there may be several, or none.
            "score": round(float(scores.max() if separator else scores[names.index(answer)]), 4),
            "right": bool(is_right),
        }
        for example, answer, scores, names, is_right in rows
    ]
    return {"this model": measures, "texts": texts}


def regression_baseline(report: dict[str, Any], train_examples: Examples) -> dict[str, Any]:
    """The logistic regression baseline, trained on the same training split and evaluated on the same examples.

    Args:
        report: from `report_labels`, single-label.
        train_examples: {"text", "label"} or {"text", "text_pair", "label"}.
    Returns:
        `logistic regression`, its metrics; and `p_value` of the one-sided test that the model is better.
    """
    texts, keys = report["texts"], text_keys(report["texts"])
    joined = [["\n".join(each[key] for key in keys) for each in side] for side in (train_examples, texts)]
    sides = [[each["label"] for each in side] for side in (train_examples, texts)]
    spelling = one_spelling({*sides[0], *sides[1]})
    train_labels, labels = ([spelling[label] for label in side] for side in sides)
    predictions, scores, names = text_regression(joined[0], train_labels, joined[1])
    right = np.array([float(text["right"]) for text in texts])
    return {
        "logistic regression": _measure(labels, predictions, "", scores, names),
        "p_value": paired_bootstrap(right, _right(labels, predictions, "")),
    }


def _as_known(examples: Examples, names: Sequence[str], separator: str) -> Examples:
    """The examples with labels in the spelling of the model; unknown labels are unchanged."""
    spelling_of = find_spelling(names)

    def spelled(text: str) -> str:
        parts = text.split(separator) if separator else [text]
        return separator.join(spelling_of(part) or part for part in parts)

    return [{**example, "label": spelled(example["label"])} for example in examples]


def text_keys(examples: Examples) -> tuple[str, ...]:
    """Input columns of the classifier."""
    return ("text", "text_pair") if "text_pair" in examples[0] else ("text",)


def _measure(
    labels: Sequence[str], predictions: Sequence[str], separator: str, scores: np.ndarray, names: list[str]
) -> dict[str, Any]:
    wanted, found = ([_labels(label, separator) for label in side] for side in (labels, predictions))
    measures = classification(wanted, found, scores, names)
    right, chosen = (multi_hot(side, names).astype(np.float64) for side in (wanted, found))
    for name, values in (
        ("accuracy", _right(labels, predictions, separator)),
        ("loss", _losses(scores, right, bool(separator))),
    ):
        measures[name], *measures[f"{name}_interval"] = bootstrap(values)
    add_f1_intervals(measures, right * chosen, chosen, right, names)
    confidences, correct = (scores, right) if separator else (scores[chosen > 0], right[chosen > 0])

    def calibration(counts: np.ndarray) -> np.ndarray:
        drawn = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
        return np.array([expected_calibration_error(confidences[drawn].ravel(), correct[drawn].ravel())])

    ends = bootstrap_measures(calibration, len(right))
    measures["expected_calibration_error_interval"] = ends[:, 0].tolist()
    return measures


def _losses(scores: np.ndarray, right: np.ndarray, several: bool) -> np.ndarray:
    """float64 [N]: cross-entropy of the label; for multi-label classification the sum of binary cross-entropies."""
    tiny = np.finfo(np.float32).tiny
    given = np.asarray(scores, np.float64)
    losses = -right * np.log(np.maximum(given, tiny))
    if several:
        losses -= (1 - right) * np.log(np.maximum(1 - given, tiny))
    return losses.sum(axis=1)


def _right(labels: Sequence[str], predictions: Sequence[str], separator: str) -> np.ndarray:
    """float64 [N], 1 for an exact match of the labels."""
    pairs = zip(labels, predictions, strict=True)
    return np.array([float(_labels(a, separator) == _labels(b, separator)) for a, b in pairs])


def _labels(text: str, separator: str) -> Any:
    return {part.strip() for part in text.split(separator) if part.strip()} if separator else text


@register_report("labels")
def _labels_report(fns: Signatures, examples: Sequence[dict[str, str]], config: Any) -> dict[str, Any]:
    """`report_labels` by the signature `classify`."""
    return report_labels(fns("classify"), examples, config.label_separator)
