"""The report of a classifier, and of a logistic regression beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.answers import AnswerFn
from tflm.evaluation.classification import classification, expected_calibration_error
from tflm.evaluation.intervals import bootstrap, paired_bootstrap
from tflm.evaluation.resampling import add_f1_intervals, bootstrap_measures
from tflm.evaluation.text_regression import text_regression

Examples = Sequence[dict[str, str]]


def report_labels(classify_fn: AnswerFn, examples: Examples, separator: str = "") -> dict[str, Any]:
    """The labels that a model gives, measured.

    Args:
        classify_fn: answers `label`, `scores` and `labels` to `text`, and to `text_pair` where examples have it.
        examples: {"text", "label"} or {"text", "text_pair", "label"}.
        separator: between several labels of an example; "" for one each.
    Returns:
        `this model`: the measures of `classification` and the `loss` in nats an example, each with `NAME_interval`, the
        ends of its 95% interval; and `texts`, each example with its `answer`, its `score` and whether it is `right`.
    """
    found = classify_fn({key: [example[key] for example in examples] for key in text_keys(examples)})
    labels, predictions = [example["label"] for example in examples], found["label"].tolist()
    measures = _measure(labels, predictions, separator, found["scores"], found["labels"][0].tolist())
    right = _right(labels, predictions, separator)
    rows = zip(examples, predictions, found["scores"], right, strict=True)
    texts = [
        {**example, "answer": answer, "score": round(float(scores.max()), 4), "right": bool(is_right)}
        for example, answer, scores, is_right in rows
    ]
    return {"this model": measures, "texts": texts}


def regression_beside(report: dict[str, Any], train_examples: Examples) -> dict[str, Any]:
    """A logistic regression that learned from the same training side, on the same examples.

    Args:
        report: from `report_labels`, of examples with one label each.
        train_examples: {"text", "label"} or {"text", "text_pair", "label"}.
    Returns:
        `logistic regression`, its measures; and `p_value` of it being no worse than the model.
    """
    texts, keys = report["texts"], text_keys(report["texts"])
    joined = [["\n".join(each[key] for key in keys) for each in side] for side in (train_examples, texts)]
    predictions, scores, names = text_regression(
        joined[0], [each["label"] for each in train_examples], joined[1]
    )
    labels = [text["label"] for text in texts]
    right = np.array([float(text["right"]) for text in texts])
    return {
        "logistic regression": _measure(labels, predictions, "", scores, names),
        "p_value": paired_bootstrap(right, _right(labels, predictions, "")),
    }


def text_keys(examples: Examples) -> tuple[str, ...]:
    """What of an example a classifier reads."""
    return ("text", "text_pair") if "text_pair" in examples[0] else ("text",)


def _measure(
    labels: Sequence[str], predictions: Sequence[str], separator: str, scores: np.ndarray, names: list[str]
) -> dict[str, Any]:
    wanted, found = ([_labels(label, separator) for label in side] for side in (labels, predictions))
    measures = classification(wanted, found, scores, names)
    right, chosen = (_indicators(side, names) for side in (wanted, found))
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
    """float64 [N]: -ln p of the label; of several, of each label's being there or not, added up."""
    tiny = np.finfo(np.float32).tiny
    given = np.asarray(scores, np.float64)
    losses = -right * np.log(np.maximum(given, tiny))
    if several:
        losses -= (1 - right) * np.log(np.maximum(1 - given, tiny))
    return losses.sum(axis=1)


def _indicators(sets: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    """float64 [N, C], 1 for each label of an example."""
    sets = [{labels} if isinstance(labels, str) else labels for labels in sets]
    return np.array([[float(name in labels) for name in names] for labels in sets])


def _right(labels: Sequence[str], predictions: Sequence[str], separator: str) -> np.ndarray:
    """float64 [N], 1 where every label was found and no other."""
    pairs = zip(labels, predictions, strict=True)
    return np.array([float(_labels(a, separator) == _labels(b, separator)) for a, b in pairs])


def _labels(text: str, separator: str) -> Any:
    return {part.strip() for part in text.split(separator) if part.strip()} if separator else text
