"""Deletion and insertion curves of a model whose probability is a plain function of the words that are left."""

import re

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation.metrics.faithfulness import (
    AttributedText,
    area_under,
    faithfulness,
    without_spans,
)

TEXT = "很 good a b c d e f g h"
SPANS = [found.span() for found in re.finditer(r"\S+", TEXT)]


def has_good(texts, labels):
    assert set(labels) == {"pos"}
    return [0.9 if "good" in text else 0.1 for text in texts]


def attributed(*values):
    return AttributedText(TEXT, "pos", SPANS, list(values))


def test_the_right_order_has_the_least_and_the_greatest_area():
    found = faithfulness([attributed(0, 5, *[0.1] * 8)], has_good)
    assert found.curves["deletion"] == pytest.approx([0.9, *[0.1] * 10])
    assert found.curves["insertion"] == pytest.approx([0.1, *[0.9] * 10])
    assert found.deletion.mean == pytest.approx(0.1 + 0.8 / 20)
    assert found.insertion.mean == pytest.approx(0.9 - 0.8 / 20)
    assert found.deletion_gain.mean > 0 and found.insertion_gain.mean > 0
    # Removing from the front and from the back leaves "good" in as many texts.
    assert found.random_deletion.mean + found.random_insertion.mean == pytest.approx(1.0)


def test_the_reverse_order_is_worse_than_random():
    found = faithfulness([attributed(0, -5, *[0.1] * 8)] * 2, has_good)
    assert found.deletion_gain.mean < 0 and found.insertion_gain.mean < 0
    assert found.num_texts == 2


def test_texts_of_one_token_are_left_out():
    short = AttributedText("好", "pos", [(0, 1)], [1.0])
    assert faithfulness([short, attributed(*range(10))], has_good).num_texts == 1
    with pytest.raises(UserError, match="needs texts of two tokens or more; of 1 none has"):
        faithfulness([short], has_good)


def test_removed_characters():
    assert without_spans("我爱北京", [(2, 4), (0, 1)]) == "爱"
    assert without_spans("ab", []) == "ab"
    assert area_under(np.array([0.0, 1.0])) == 0.5
