"""The report of texts: measures of the same answers, and the loss of the targets."""

import math

import numpy as np
import pytest

from tflm.evaluation import (
    METRICS,
    averaged,
    bleu,
    compare_reports,
    first_sentence,
    register_metric,
    report_page,
    report_texts,
    rouge,
)

EXAMPLES = [
    {"source": "Read a file. It may be large.", "target": "Reads the file"},
    {"source": "画一条线。颜色任选。", "target": "画线"},
    {"source": "Add numbers", "target": "Adds two numbers"},
]
WRITTEN = ["Reads a file", "画一条线", "Multiplies numbers"]
TARGETS = [example["target"] for example in EXAMPLES]


def write(columns):
    answers = {example["source"]: text for example, text in zip(EXAMPLES, WRITTEN, strict=True)}
    return {"text": np.array([answers[source] for source in columns["text"]])}


def score(columns):
    lengths = [len(target) for target in columns["target"]]
    return {"log_probability": -2.0 * np.array(lengths), "num_tokens": np.array(lengths)}


def test_by_rouge():
    report = report_texts(write, score, EXAMPLES)
    firsts = [first_sentence(example["source"]) for example in EXAMPLES]
    for name, texts in (("this model", WRITTEN), ("source's first sentence", firsts)):
        for kind, values in rouge(TARGETS, texts).items():
            assert report[name][kind] == pytest.approx(100 * values.mean())
            low, high = report[name][f"{kind}_interval"]
            assert low <= report[name][kind] <= high
    assert report["this model"]["loss"] == pytest.approx(2.0)
    assert report["this model"]["perplexity"] == pytest.approx(math.exp(2))
    assert report["signatures"]["rouge"].endswith("F1, words, Porter's stemmer")
    assert [text["answer"] for text in report["texts"]] == WRITTEN
    expected = rouge(TARGETS, WRITTEN)["rougeL"]
    assert [text["rougeL"] for text in report["texts"]] == pytest.approx(expected, abs=1e-4)
    assert set(report) == {"this model", "source's first sentence", "signatures", "text_score", "texts"}
    assert report["text_score"] == "rougeL"


def test_by_a_registered_metric():
    @register_metric("same_length")
    def same_length(targets, outputs, tokenizer=""):
        return averaged({"same_length": [100.0 * (len(a) == len(b)) for a, b in zip(targets, outputs)]})

    report = report_texts(write, None, EXAMPLES, "same_length")
    assert report["this model"]["same_length"] == pytest.approx(0.0)
    assert set(report["this model"]) == {"same_length", "same_length_interval"}
    assert [text["same_length"] for text in report["texts"]] == [0.0, 0.0, 0.0]
    assert "## Best by same_length" in report_page({**report, "name": "a", "step": 1, "split": "eval"})
    assert compare_reports(report, report)["measure"] == "same_length"
    METRICS.remove("same_length")


def test_by_bleu():
    report = report_texts(write, score, EXAMPLES, "bleu")
    expected = bleu(TARGETS, WRITTEN)
    for name, each in expected.items():
        assert report["this model"][name] == pytest.approx(each.score.mean)
        assert report["signatures"][name] == each.signature
    assert [text["chrf"] for text in report["texts"]] == pytest.approx(expected["chrf"].segments, abs=0.01)
    assert set(report) == {"this model", "signatures", "text_score", "texts"}
    by_character = report_texts(write, score, EXAMPLES, "bleu", "char")
    assert "tok:char" in by_character["signatures"]["bleu"]
