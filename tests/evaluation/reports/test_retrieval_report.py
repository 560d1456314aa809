"""The report of retrieval: ranks worked out by hand, equal targets as one."""

import numpy as np
import pytest

from tflm.evaluation import report_retrieval

VECTORS = {
    "q1": [1.0, 0.1],
    "q2": [0.0, 2.0],
    "问": [1.0, 1.1],
    "east": [3.0, 0.0],
    "north": [0.0, 1.0],
}
EXAMPLES = [
    {"source": "q1", "target": "east"},
    {"source": "q2", "target": "east"},
    {"source": "问", "target": "north"},
]


def test_ranks_nearest_and_intervals():
    report = report_retrieval(
        lambda columns: {"embedding": np.array([VECTORS[t] for t in columns["text"]])}, EXAMPLES
    )
    measures = report["this model"]
    assert measures["num_targets"] == 2
    assert measures["recall@1"] == pytest.approx(200 / 3)
    assert measures["recall@5"] == 100.0
    assert measures["mrr"] == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)
    low, high = measures["recall@1_interval"]
    assert low < measures["recall@1"] < high
    assert [text["answer"] for text in report["texts"]] == ["east", "north", "north"]
    assert [text["reciprocal_rank"] for text in report["texts"]] == [1.0, 0.5, 1.0]
