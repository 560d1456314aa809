"""Sampling: bounded, spread out, the same each time; wrong input is named."""

import itertools

import pytest

from tflm.errors import UserError
from tflm.text import TokenizerConfig, training_text
from tflm.text.training_text import normalized_texts, sampled_lines

CONFIG = TokenizerConfig()


def test_lines_are_cut_and_normalized():
    texts = ["第一行\r\n\r\nsecond\tcell e\u0301", "  ", "x\u2581y\u2585z\0"]
    assert sampled_lines(CONFIG, texts) == ["第一行", "second", "cell é", "x", "y", "z"]
    long = "字" * 2500
    assert [len(line) for line in sampled_lines(CONFIG, [long])] == [1000, 1000, 500]


def test_sample_is_bounded_and_spread(monkeypatch):
    monkeypatch.setattr(training_text, "MAX_CHARACTERS", 400)
    numbers = [int(line) for line in sampled_lines(CONFIG, (f"{index:04}" for index in range(1000)))]
    assert 50 <= len(numbers) <= 100
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert steps == {16}  # evenly spread, from the first text to the last
    assert numbers[0] == 0 and numbers[-1] > 980


def test_lone_surrogate_is_replaced():
    assert list(normalized_texts(CONFIG, ["a\ud800b"])) == ["a\ufffd\ufffd\ufffdb"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("one string", r"texts is an iterable of strings; got a single one\. Pass \[text\]"),
        ([1], r"texts is an iterable of str; got int: 1"),
        ([b"bytes"], r"got bytes: b'bytes'"),
        ([], r"no text to train a tokenizer on"),
        (["", " \n\t "], r"found only spaces and empty lines"),
    ],
)
def test_bad_texts(texts, words):
    with pytest.raises(UserError, match=words):
        sampled_lines(CONFIG, texts)
