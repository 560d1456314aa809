"""Loss and perplexity of texts by themselves: sums worked out by hand, tokens weighed alike."""

import math

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation import bootstrap
from tflm.evaluation.metrics.text_losses import document_losses, report_losses

SCORES = {"ab": (-6.0, 2), "你好": (-2.0, 2), "": (0.0, 0), "long text": (-1.0, 4)}
EXAMPLES = [{"text": text} for text in SCORES]


def score(columns):
    rows = [SCORES[text] for text in columns["text"]]
    return {
        "log_probability": np.array([row[0] for row in rows], np.float32),
        "num_tokens": np.array([row[1] for row in rows], np.int32),
    }


def test_tokens_count_alike():
    measures, outputs = document_losses(score, {"text": list(SCORES)})
    assert measures["loss"] == pytest.approx(9 / 8)
    assert measures["perplexity"] == pytest.approx(math.exp(9 / 8))
    assert measures["num_tokens"] == 8
    expected = bootstrap(np.array([3.0, 1.0, 0.25]), np.array([2.0, 2.0, 4.0]))
    assert measures["loss_interval"] == pytest.approx([expected.low, expected.high])
    assert measures["perplexity_interval"] == pytest.approx([math.exp(expected.low), math.exp(expected.high)])
    assert outputs["num_tokens"].tolist() == [2, 2, 0, 4]


def test_each_text_with_its_mean_token():
    report = report_losses(score, EXAMPLES)
    assert report["this model"]["loss"] == pytest.approx(9 / 8)
    assert report["texts"] == [
        {"text": "ab", "num_tokens": 2, "log_probability": -3.0},
        {"text": "你好", "num_tokens": 2, "log_probability": -1.0},
        {"text": "long text", "num_tokens": 4, "log_probability": -0.25},
    ]


def test_texts_without_tokens_alone():
    with pytest.raises(UserError, match="an interval needs at least one example"):
        document_losses(score, {"text": [""]})
