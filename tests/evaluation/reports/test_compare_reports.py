"""Two reports: the difference, its interval, and what is no comparison."""

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation import compare_reports


def labelled(right):
    return {"texts": [{"text": f"第{n}", "label": "a", "right": bool(r)} for n, r in enumerate(right)]}


def test_a_better_run_is_told_from_an_equal_one():
    draw = np.random.default_rng(0)
    weak = draw.random(400) < 0.6
    strong = weak | (draw.random(400) < 0.5)
    found = compare_reports(labelled(strong), labelled(weak))
    assert found["measure"] == "accuracy"
    assert found["this"] == pytest.approx(100 * strong.mean())
    assert found["difference"] == pytest.approx(100 * (strong.mean() - weak.mean()))
    low, high = found["difference_interval"]
    assert 0 < low < found["difference"] < high
    assert found["p_value"] < 0.01
    same = compare_reports(labelled(weak), labelled(weak))
    assert same["difference"] == 0.0 and same["difference_interval"] == [0.0, 0.0]
    assert same["p_value"] == 1.0


def test_texts_by_their_own_measure():
    def report(scores):
        return {"texts": [{"source": str(n), "target": "t", "chrf": s} for n, s in enumerate(scores)]}

    found = compare_reports(report([50.0, 70.0]), report([40.0, 60.0]))
    assert (found["measure"], found["this"], found["other"], found["difference"]) == (
        "chrf",
        60.0,
        50.0,
        10.0,
    )


@pytest.mark.parametrize(
    "one, other, words",
    [
        ({}, labelled([1]), r"one has none: .* are compared by tflm compare"),
        (
            {"texts": [{"text": "a", "num_tokens": 3, "log_probability": -1.0}]},
            {"texts": [{"text": "a", "num_tokens": 2, "log_probability": -1.0}]},
            r"cut the texts into different tokens, .* tflm compare, which counts bytes",
        ),
        (labelled([1, 0]), labelled([1]), r"over different examples \(2 and 1\)"),
        (
            {"texts": [{"source": "a", "chrf": 1.0}]},
            {"texts": [{"source": "a", "rougeL": 1.0}]},
            "measured by chrf, the other by rougeL",
        ),
    ],
)
def test_refusals(one, other, words):
    with pytest.raises(UserError, match=words):
        compare_reports(one, other)
