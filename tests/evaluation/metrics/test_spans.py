"""Measures of spans: known figures, and an independent count from tags as conlleval makes it."""

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation.metrics.spans import report_spans, span_scores
from tflm.evaluation.reports.answers import BatchedAnswers

WANTED = [[(0, 2, "ORG"), (5, 7, "LOC")], [(0, 4, "PER")], [], [(3, 5, "LOC")]]
FOUND = [[(0, 2, "ORG"), (5, 8, "LOC")], [(0, 4, "LOC")], [(1, 2, "PER")], [(3, 5, "LOC")]]


def test_by_hand():
    found = span_scores(WANTED, FOUND)
    # 5 answers, 4 right ones to find; two agree in start, end and label.
    assert found["micro_precision"] == pytest.approx(2 / 5)
    assert found["micro_recall"] == pytest.approx(2 / 4)
    assert found["micro_f1"] == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    assert found["per_label"] == {
        "LOC": {"precision": pytest.approx(1 / 3), "recall": 0.5, "f1": pytest.approx(0.4), "support": 2},
        "ORG": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
        "PER": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    }
    assert found["macro_f1"] == pytest.approx((0.4 + 1 + 0) / 3)
    assert found["macro_precision"] == pytest.approx((1 / 3 + 1 + 0) / 3)


def test_the_figures_of_precision_and_recall_known_for_a_segmentation():
    # The SIGHAN bakeoffs' scorer on 我|爱|北京|天安门 answered by 我爱|北京|天安|门: 1 word of 4 is right, both ways.
    wanted = [(0, 1, "word"), (1, 2, "word"), (2, 4, "word"), (4, 7, "word")]
    answer = [(0, 2, "word"), (2, 4, "word"), (4, 6, "word"), (6, 7, "word")]
    found = span_scores([wanted], [answer])
    assert found["micro_precision"] == found["micro_recall"] == found["micro_f1"] == found["macro_f1"] == 0.25


def conlleval(wanted, found):
    """correct, found and wanted chunks, counted tag by tag with conlleval's own three questions (IOB2)."""
    correct = found_chunks = wanted_chunks = 0
    in_correct, last_wanted, last_found = False, "O", "O"
    for right, came in [*zip(wanted, found), ("O", "O")]:
        ends = [last != "O" and (now[0] in "OB" or now[2:] != last[2:]) for last, now in
                ((last_wanted, right), (last_found, came))]  # fmt: skip
        starts = [now != "O" and (now[0] == "B" or last == "O" or now[2:] != last[2:]) for last, now in
                  ((last_wanted, right), (last_found, came))]  # fmt: skip
        if in_correct:
            if all(ends) and last_wanted[2:] == last_found[2:]:
                correct, in_correct = correct + 1, False
            elif ends[0] != ends[1] or right[2:] != came[2:]:
                in_correct = False
        if all(starts) and right[2:] == came[2:]:
            in_correct = True
        wanted_chunks += starts[0]
        found_chunks += starts[1]
        last_wanted, last_found = right, came
    return correct, found_chunks, wanted_chunks


def spans_of(tags):
    """Spans of IOB2 tags that begin with B, token by token."""
    spans = []
    for place, tag in enumerate(tags):
        if tag[0] == "B":
            end = place + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            spans.append((place, end, tag[2:]))
    return spans


def test_equals_a_count_as_conlleval_makes_it():
    random = np.random.default_rng(0)

    def tags():
        found = []
        while len(found) < 30:
            label, length = random.choice(["人", "LOC"]), random.integers(1, 4)
            found += ["O"] if random.random() < 0.4 else [f"B-{label}", *[f"I-{label}"] * (length - 1)]
        return found[:30]

    wanted = [tags() for _ in range(40)]
    found = [[a if random.random() < 0.8 else b for a, b in zip(tags(), each)] for each in wanted]
    found = [repaired(each) for each in found]
    counts = np.sum([conlleval(*pair) for pair in zip(wanted, found)], axis=0)
    measures = span_scores([spans_of(each) for each in wanted], [spans_of(each) for each in found])
    assert 0 < counts[0] < counts[1]
    assert measures["micro_precision"] == pytest.approx(counts[0] / counts[1])
    assert measures["micro_recall"] == pytest.approx(counts[0] / counts[2])


def repaired(tags):
    """An I with nothing to go on from becomes B."""
    before, fixed = "O", []
    for tag in tags:
        fixed.append(f"B-{tag[2:]}" if tag[0] == "I" and before[2:] != tag[2:] else tag)
        before = tag
    return fixed


def test_nothing_to_find_and_mistakes():
    assert span_scores([[]], [[]])["micro_f1"] == 0.0
    assert span_scores([[(0, 1, "A")]], [[]])["macro_f1"] == 0.0
    with pytest.raises(
        UserError, match="1 texts with gold spans and 2 with predicted spans; expected equal numbers"
    ):
        span_scores([[]], [[], []])
    with pytest.raises(UserError, match="0 texts with gold spans and 0 with predicted"):
        span_scores([], [])


def test_report_of_texts_in_batches():
    known = {"Anna": [(0, 4, "PER")], "我在北京": [(2, 4, "LOC"), (0, 1, "PER")], "none here": []}

    def tag(columns):
        rows = [known[text] for text in columns["text"]]
        width = max(map(len, rows))
        full = [[*row, *[(-1, -1, "")] * (width - len(row))] for row in rows]
        kinds = {"start": np.int32, "end": np.int32, "label": np.str_}
        outputs = {
            name: np.array([[span[i] for span in row] for row in full], kind).reshape(len(rows), width)
            for i, (name, kind) in enumerate(kinds.items())
        }
        return {**outputs, "num_spans": np.array([len(row) for row in rows])}

    spans = ['[[0, 4, "PER"]]', '[[2, 4, "LOC"]]', "[]"]
    examples = [{"text": text, "spans": each} for text, each in zip(["Anna", "我在北京", "none here"], spans)]
    for batch_size in (1, 2, 3):
        report = report_spans(BatchedAnswers(tag, batch_size), examples)
        assert report["this model"]["micro_precision"] == pytest.approx(2 / 3)
        assert report["this model"]["micro_recall"] == 1.0
        assert [text["answer"] for text in report["texts"]] == [
            '[[0, 4, "PER"]]',
            '[[2, 4, "LOC"], [0, 1, "PER"]]',
            "[]",
        ]
        low, high = report["this model"]["micro_f1_interval"]
        assert low < report["this model"]["micro_f1"] < high
        assert report["this model"]["per_label"]["LOC"]["recall_interval"] == [1.0, 1.0]
