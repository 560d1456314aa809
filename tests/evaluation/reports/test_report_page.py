"""The page of a report: its numbers are those of the examples, in tables that hold together."""

import numpy as np
import pytest

from tflm.evaluation.reports.report_page import example_scores, report_page, slices_by_length

TEXTS = [
    {"text": "short", "label": "pos", "answer": "pos", "score": 0.9, "right": True},
    {"text": "很好 | 很好", "label": "pos", "answer": "neg", "score": 0.8, "right": False},
    {"text": "a longer text\nof two lines", "label": "neg", "answer": "neg", "score": 0.7, "right": True},
    {
        "text": "the longest text of all of them " * 20,
        "label": "neg",
        "answer": "pos",
        "score": 0.6,
        "right": False,
    },
]
LABELLED = {
    "name": "films",
    "step": 1200,
    "split": "test",
    "held_out": {"loss": 0.5, "accuracy": 0.5, "num_examples": 4.0},
    "num_parameters": 12345,
    "model": "models/films/1",
    "size_bytes": 2_500_000,
    "this model": {
        "accuracy": 0.5,
        "accuracy_interval": [0.25, 0.75],
        "loss": 0.7,
        "loss_interval": [0.6, 0.8],
        "macro_f1": 0.5,
        "per_label": {
            name: {"precision": 0.5, "recall": 0.25, "f1": 0.333, "f1_interval": [0.1, 0.5], "support": 2}
            for name in ("neg", "pos")
        },
    },
    "logistic regression": {"accuracy": 0.75, "accuracy_interval": [0.5, 1.0], "macro_f1": 0.7},
    "p_value": 0.75,
    "texts": TEXTS,
    "texts_per_second": 1234.5,
}


def tables(page):
    """Every table of a page as rows of cells."""
    found, rows = [], []
    for line in [*page.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_the_legend_of_a_picture_with_numbers():
    page = report_page(LABELLED, ["confusion.png", "b.png"], {"confusion.png": {"1": "好 | 很好", "2": "差"}})
    legend = tables(page.partition("![confusion](confusion.png)\n\n")[2])[0]
    assert legend[0] == ["number in the picture", "label"] and legend[2:] == [["1", "好 / 很好"], ["2", "差"]]
    assert page.index("| 2 | 差 |") < page.index("![b](b.png)")


def test_of_labels():
    page = report_page(LABELLED, ["confusion.png"])
    assert page.startswith("# films, step 1,200, test side\n\nModel: ")
    assert "\n\nloss 0.5000, accuracy 0.5000, num_examples 4\n" in page
    assert "12,345 parameters. 2.5 MB on disk. 1,234.5 texts a second, in batches, after a warm-up" in page
    assert "Model: `models/films/1`." in page
    assert "p = 0.7500 that the regression is no worse" in page
    assert "![confusion](confusion.png)" in page
    measures, slices, labels, right, wrong = tables(page)
    assert measures[0] == ["", "accuracy", "loss", "macro_f1"]
    assert measures[2] == ["this model", "50.00 [25.00, 75.00]", "0.70 [0.60, 0.80]", "50.00"]
    assert measures[3] == ["logistic regression", "75.00 [50.00, 100.00]", "", "70.00"]
    assert [row[1] for row in slices[2:]] == ["1", "1", "1", "1"]
    assert slices[2][0] == "5-5" and slices[2][2].startswith("100.0 [")
    assert labels[2:] == [[name, "2", "50.0", "25.0", "33.3 [10.0, 50.0]"] for name in ("neg", "pos")]
    assert [row[0] for row in right[2:]] == ["0.90", "0.70"]
    assert [row[0] for row in wrong[2:]] == ["0.80", "0.60"]
    assert wrong[2][1] == "很好 / 很好"
    assert right[3][1] == "a longer text of two lines"
    assert wrong[3][1].endswith("…") and len(wrong[3][1]) == 201
    for table in tables(page):
        assert {len(row) for row in table} == {len(table[0])}, table


@pytest.mark.parametrize("measure, factor", [("rougeL", 1.0), ("chrf", 100.0)])
def test_of_texts(measure, factor):
    texts = [
        {"source": "源" * (n + 1), "target": "t", "answer": str(n), measure: factor * n / 10}
        for n in range(10)
    ]
    row = {measure: 45.0, f"{measure}_interval": [40.0, 50.0]}
    report = {
        "name": "x",
        "step": 1,
        "split": "eval",
        "held_out": {"loss": 1.0},
        "this model": row,
        "texts": texts,
    }
    measures, slices, best, worst = tables(report_page(report))
    assert measures[2] == ["this model", "45.00 [40.00, 50.00]"]
    assert [row[0] for row in slices[2:]] == ["1-3", "4-6", "7-8", "9-10"]
    assert [float(row[2].split()[0]) for row in slices[2:]] == pytest.approx([10.0, 40.0, 65.0, 85.0])
    assert [row[-1] for row in best[2:]] == ["9", "8", "7", "6", "5"]
    assert [row[-1] for row in worst[2:]] == ["0", "1", "2", "3", "4"]


def test_of_a_language_model():
    report = {"name": "x", "step": 1, "split": "eval", "held_out": {"loss": 1.0, "perplexity": 2.718}}
    assert report_page(report) == "# x, step 1, eval side\n\nloss 1.0000, perplexity 2.7180\n"
    texts = [{"text": "字" * n, "num_tokens": n, "log_probability": -float(n)} for n in range(1, 9)]
    row = {"loss": 2.0, "loss_interval": [1.5, 2.5], "num_tokens": 1036}
    report |= {"this model": row, "texts": texts, "ngram": {"perplexity": 9.5, "order": 5, "loss": 2.25}}
    page = report_page(report)
    assert "8 examples and 1,036 tokens, with 95% intervals in brackets." in page
    assert "5-gram, Kneser-Ney, over the same tokens: perplexity 9.5000." in page
    measures, slices, best, worst = tables(page)
    assert measures[2:] == [["this model", "2.00 [1.50, 2.50]"]], "what is over other tokens is no row"
    assert slices[2] == ["1-2", "2", "-1.50 [-2.00, -1.00]"]
    assert [row[1] for row in (best[2], worst[2])] == ["字", "字" * 8]


def test_a_slice_has_its_mean_and_interval():
    texts = [{"text": "a" * n} for n in (1, 1, 9, 9, 5, 5, 7, 7)]
    scores = np.array([0.0, 100.0, 50.0, 50.0, 100.0, 100.0, 0.0, 0.0])
    parts = slices_by_length(texts, scores, "text")
    assert [(part["shortest"], part["longest"], part["count"]) for part in parts] == [
        (1, 1, 2),
        (5, 5, 2),
        (7, 7, 2),
        (9, 9, 2),
    ]
    assert [part["score"].mean for part in parts] == [50.0, 100.0, 0.0, 50.0]
    assert parts[0]["score"].low == 0.0 and parts[0]["score"].high == 100.0
    assert parts[1]["score"].low == parts[1]["score"].high == 100.0


def test_what_single_examples_are_judged_by():
    assert example_scores(TEXTS)[0] == "accuracy"
    np.testing.assert_array_equal(example_scores(TEXTS)[1], [100.0, 0.0, 100.0, 0.0])
    np.testing.assert_allclose(example_scores([{"rougeL": 0.25}])[1], [25.0])
    assert example_scores([{"log_probability": -1.5}]) == ("log_probability", [-1.5])
    assert example_scores([{"reciprocal_rank": 0.5}]) == ("reciprocal_rank", [50.0])
