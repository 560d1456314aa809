"""What is reported of a trained model beside its loss: its texts or its labels, measured beside a baseline."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.answers import answers
from tflm.evaluation.baseline import first_sentence
from tflm.evaluation.bleu import bleu
from tflm.evaluation.classification import classification
from tflm.evaluation.intervals import bootstrap, paired_bootstrap
from tflm.evaluation.rouge import rouge
from tflm.evaluation.text_regression import text_regression

Examples = Sequence[dict[str, str]]
Report = dict[str, Any]


def report_texts(task: Any, model: Any, examples: Examples, batch_size: int = 64) -> Report:
    """What the model writes for sources, by the measure of the task.

    Returns:
        `this model`, by ROUGE also `source's first sentence`: name of a measure to its value in percent, and
        `NAME_interval` to the ends of its 95% interval; by BLEU also `signatures`; `texts`, each example with its
        `answer` and its `rougeL` or its `chrf`; and `texts_per_second`, tracing included.
    """
    sources, targets = ([example[key] for example in examples] for key in ("source", "target"))
    begin = time.perf_counter()
    found = answers(task.signatures(model)["serving_default"], {"text": sources}, batch_size)
    speed = {"texts_per_second": len(sources) / (time.perf_counter() - begin)}
    written = found["text"].tolist()
    texts = [{**example, "answer": answer} for example, answer in zip(examples, written, strict=True)]
    if task.config.measure == "bleu":
        corpus = bleu(targets, written)
        measures: Report = {name: float(each.score.mean) for name, each in corpus.items()}
        measures |= {
            f"{name}_interval": [float(end) for end in each.score[1:]] for name, each in corpus.items()
        }
        signatures = {name: each.signature for name, each in corpus.items()}
        for text, score in zip(texts, corpus["chrf"].segments, strict=True):
            text["chrf"] = round(float(score), 2)
        return {"this model": measures, "signatures": signatures, "texts": texts, **speed}
    scores = rouge(targets, written)
    for text, score in zip(texts, scores["rougeL"], strict=True):
        text["rougeL"] = round(float(score), 4)
    baseline = rouge(targets, [first_sentence(source) for source in sources])
    means = [{kind: 100 * float(v.mean()) for kind, v in each.items()} for each in (scores, baseline)]
    intervals = {f"{kind}_interval": list(bootstrap(100 * v)[1:]) for kind, v in scores.items()}
    rows = {"this model": {**means[0], **intervals}, "source's first sentence": means[1]}
    return {**rows, "texts": texts, **speed}


def report_labels(
    task: Any, model: Any, examples: Examples, train_examples: Examples, batch_size: int = 64
) -> Report:
    """The labels that the model gives, beside a logistic regression that learned from the same training side.

    Args:
        train_examples: for the regression; empty for none.
    Returns:
        For `this model` and `logistic regression` the measures of `classification`, with `accuracy_interval`;
        `p_value` of the regression being no worse; and `texts`, each example with its `answer`, its `score` and
        whether it is `right`; and `texts_per_second`, tracing included.
    """
    separator = task.config.label_separator
    keys = ("text", "text_pair") if task.config.text_pair else ("text",)
    columns = {key: [example[key] for example in examples] for key in keys}
    begin = time.perf_counter()
    found = answers(task.signatures(model)["classify"], columns, batch_size)
    seconds = time.perf_counter() - begin
    labels, predictions = [example["label"] for example in examples], found["label"].tolist()
    report: Report = {"this model": _measure(labels, predictions, separator, found["scores"], task.labels)}
    right = _right(labels, predictions, separator)
    if train_examples and not separator:
        train_texts, texts = (_joined(each, keys) for each in (train_examples, examples))
        baseline, scores, names = text_regression(train_texts, [e["label"] for e in train_examples], texts)
        report["logistic regression"] = _measure(labels, baseline, separator, scores, names)
        report["p_value"] = paired_bootstrap(right, _right(labels, baseline, separator))
    report["texts_per_second"] = len(examples) / seconds
    report["texts"] = [
        {**example, "answer": prediction, "score": round(float(scores.max()), 4), "right": bool(is_right)}
        for example, prediction, scores, is_right in zip(
            examples, predictions, found["scores"], right, strict=True
        )
    ]
    return report


def _measure(
    labels: Sequence[str],
    predictions: Sequence[str],
    separator: str,
    scores: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    wanted, found = ([_labels(label, separator) for label in side] for side in (labels, predictions))
    interval = bootstrap(_right(labels, predictions, separator))
    measures = classification(wanted, found, scores, names)
    return {**measures, "accuracy_interval": [interval.low, interval.high]}


def _right(labels: Sequence[str], predictions: Sequence[str], separator: str) -> np.ndarray:
    """float64 [N], 1 where every label was found and no other."""
    pairs = zip(labels, predictions, strict=True)
    return np.array([float(_labels(a, separator) == _labels(b, separator)) for a, b in pairs])


def _labels(text: str, separator: str) -> Any:
    return {part.strip() for part in text.split(separator) if part.strip()} if separator else text


def _joined(examples: Examples, keys: Sequence[str]) -> list[str]:
    return ["\n".join(example[key] for key in keys) for example in examples]
