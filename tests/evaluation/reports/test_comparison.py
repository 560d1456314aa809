"""Rows, notes and the table, with numbers by hand."""

import json
import math

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation import (
    ComparedRun,
    Interval,
    comparison_notes,
    comparison_record,
    comparison_table,
    language_measures,
    logged_measures,
    loss_difference,
    reported_measures,
    training_cost,
)

LOG = [
    {"step": 5, "loss": 3.0, "tokens": 500.0, "seconds": 2.0},
    {"step": 5, "eval_loss": 3.25, "eval_perplexity": 25.8, "eval_num_tokens": 64.0},
    {"step": 10, "loss": 2.5, "tokens": 1000.0, "seconds": 4.0},
    {"step": 10, "eval_loss": 2.75, "eval_perplexity": 15.6, "eval_num_tokens": 64.0},
]
LSTM = ComparedRun("a", "lstm", "language_modeling", 99_168, {"loss": 3.4444}, 60, 61_440.0, 3725.0, "d", "t")


def test_bits_are_nats_over_the_text():
    # 8 tokens of 2 ln 2 nats are 16 bits, over 4 bytes and 2 characters.
    found = language_measures(np.full(8, 2 * math.log(2), np.float32), num_bytes=4, num_characters=2)
    assert list(found) == ["loss", "perplexity", "bits_per_byte", "bits_per_character"]
    expected = {"loss": 2 * math.log(2), "perplexity": 4.0, "bits_per_byte": 4.0, "bits_per_character": 8.0}
    for name, value in expected.items():
        assert found[name] == pytest.approx([value] * 3, rel=1e-6)


def test_the_mean_is_that_of_the_tokens_whatever_the_blocks():
    losses = np.random.default_rng(0).exponential(size=25_777)
    found = language_measures(losses, 100, 100)["loss"]
    assert found.mean == pytest.approx(losses.mean(), rel=1e-12)
    # Independent losses: the normal interval, since blocks of them are as good as single ones.
    reach = 1.96 * losses.std() / len(losses) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.3)


def test_neighbours_that_fall_together_widen_the_interval():
    random = np.random.default_rng(0)
    alone = random.normal(3, 1, 25_600)
    together = np.repeat(random.normal(3, 1, 100), 256)
    widths = [high - low for _, low, high in (language_measures(x, 1, 1)["loss"] for x in (alone, together))]
    assert widths[1] > 5 * widths[0]


def test_a_difference_is_surer_than_both_losses():
    random = np.random.default_rng(0)
    hardness = np.repeat(random.normal(3, 1, 100), 256)
    first, second = (hardness + random.normal(shift, 0.1, 25_600) for shift in (0.0, 0.05))
    found = loss_difference(second, first)
    assert found.mean == pytest.approx((second - first).mean())
    assert 0 < found.low < found.mean < found.high < 0.06
    losses = [language_measures(x, 1, 1)["loss"] for x in (first, second)]
    assert losses[0].high > losses[1].low, "by themselves the two intervals overlap"


def test_one_token_is_enough():
    assert language_measures(np.array([1.0]), 1, 1)["loss"] == (1.0, 1.0, 1.0)


def test_nothing_held_out():
    with pytest.raises(UserError, match="an interval needs at least one example"):
        language_measures(np.zeros(0), 1, 1)


def test_the_log_tells_the_last_evaluation():
    assert logged_measures(LOG) == {"loss": 2.75, "perplexity": 15.6}
    found = logged_measures(LOG, num_bytes=32, num_characters=16)
    assert found["bits_per_byte"] == pytest.approx(2.75 * 2 / math.log(2))
    assert found["bits_per_character"] == pytest.approx(2.75 * 4 / math.log(2))
    assert logged_measures(
        [{"step": 1, "eval_loss": 0.5, "eval_accuracy": 0.75, "eval_num_examples": 9.0}]
    ) == {
        "loss": 0.5,
        "accuracy": 0.75,
    }
    assert logged_measures(LOG[:1], 32, 16) == {}


def test_the_report_tells_measures_and_intervals():
    report = {
        "step": 10,
        "held_out": {"loss": 0.5, "accuracy": 0.8, "num_examples": 90.0},
        "this model": {
            "accuracy": 0.8,
            "accuracy_interval": [0.75, 0.85],
            "macro_recall": 0.7,
            "macro_f1": 0.75,
            "per_label": {"good": {"f1": 1.0}},
        },
        "logistic regression": {"accuracy": 0.7},
        "texts": [],
    }
    assert reported_measures(report) == {"loss": 0.5, "accuracy": Interval(0.8, 0.75, 0.85), "macro_f1": 0.75}
    assert reported_measures({}) == {}


def test_the_cost_up_to_a_step():
    assert training_cost(LOG, 10) == {"tokens": 1000.0, "seconds": 4.0}
    assert training_cost(LOG, 9) == {"tokens": 500.0, "seconds": 2.0}
    assert training_cost(LOG, 4) == {}
    assert training_cost([{"step": 5, "loss": 3.0}], 5) == {}, "a log of an earlier version"


def test_the_table():
    measures = {"loss": Interval(-0.52891, -0.55, -0.5), "bits_per_byte": 12345.678}
    other = ComparedRun("b|c", "kneser_ney", "language_modeling", 1_234_567, measures)
    assert comparison_table([LSTM, other], ["Beware."]).splitlines() == [
        "| name | model | parameters | steps | tokens | wall clock | loss | bits per byte |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a | lstm | 99,168 | 60 | 61,440 | 1:02:05 | 3.444 | – |",
        "| b\\|c | kneser_ney | 1,234,567 | – | – | – | -0.5289 [-0.5500, -0.5000] | 12,346 |",
        "",
        "In brackets: 95% bootstrap intervals over the held-out side.",
        "",
        "Beware.",
    ]
    assert "In brackets" not in comparison_table([LSTM], [])


def test_a_table_of_nothing():
    with pytest.raises(UserError, match=r"no runs to compare: give one folder at least"):
        comparison_table([], [])


def test_notes():
    assert comparison_notes([LSTM, LSTM]) == []
    other = ComparedRun("b", "lstm", "pairs", 1, {}, held_out_id="e", tokenizer_id="u")
    task, data, tokenizer = comparison_notes([LSTM, other])
    assert task == "The runs have different tasks: their losses are of different things."
    assert (
        data == "The held-out side of b is not, or not for certain, that of a: the measures may not compare."
    )
    assert "The tokenizer of b is not that of a" in tokenizer and "compare bits a byte" in tokenizer


def test_the_record_is_json():
    run = ComparedRun("a", "lstm", "language_modeling", 1, {"loss": Interval(1.0, 0.5, 1.5), "x": 2.0}, 7)
    record = json.loads(json.dumps(comparison_record([run], ["n"])))
    assert record["notes"] == ["n"]
    (row,) = record["runs"]
    assert row["measures"] == {"loss": {"mean": 1.0, "low": 0.5, "high": 1.5}, "x": 2.0}
    assert (row["name"], row["steps"], row["tokens"]) == ("a", 7, None)
