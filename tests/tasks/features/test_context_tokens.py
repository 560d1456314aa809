"""Where answers may start and end, whatever the tokenizer does to the text; and the tokens of answers."""

import pytest
import tensorflow as tf

from tflm.tasks.features.answer_spans import answer_tokens, trained_spans
from tflm.tasks.features.context_tokens import context_tokens, of_tokens
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = ["a 😀\u3000e\u0301b ｶﾞ我", "", " \n"]
KINDS = {
    "byte": TokenizerConfig(kind="byte"),
    "byte nfkc": TokenizerConfig(kind="byte", normalization="nfkc"),
    "character": TokenizerConfig(kind="character", vocab_size=280),
}


@pytest.fixture(params=KINDS)
def tokens(request):
    return context_tokens(train_tokenizer(KINDS[request.param], ["a e b 我爱"] * 2), tf.constant(TEXTS))


def test_an_answer_starts_and_ends_at_whole_characters_that_are_no_spaces(tokens):
    found = tokens
    allowed = found.allowed[0].numpy()
    starts, ends = (each[0].numpy()[allowed].tolist() for each in (found.starts, found.ends))
    pieces = [TEXTS[0][start:end] for start, end in zip(starts, ends)]
    assert pieces == ["a", "😀", "e\u0301", "b", "ｶﾞ", "我"]
    assert not found.allowed[1:].flat_values.numpy().any()


def test_the_tokens_of_answers(tokens):
    found = tokens
    answers = answer_tokens(found, [(2, 3), (-1, -1), (0, 1)])
    first, last = int(answers.first[0]), int(answers.last[0])
    assert first == last and int(found.starts[0][first]) == 2 and int(found.ends[0][first]) == 3
    assert answers.first[1:].tolist() == answers.last[1:].tolist() == [-1, -1], (
        "no answer, and one of spaces alone"
    )
    assert not answers.widened.any()
    inside = answer_tokens(found, [(5, 7), (-1, -1), (-1, -1)])  # the accent and b
    assert inside.widened.tolist() == [True, False, False]


def test_the_first_answer_in_the_context_trains():
    answers = ['[[-1, "x"], [2, "北京"], [0, "a"]]', "[]", '[[-1, "x"]]']
    assert trained_spans({"answers": tf.constant(answers)}) == [(2, 4), (-1, -1), (-1, -1)]


def test_of_tokens():
    values = tf.ragged.constant([[7, 8], [9]])
    found = of_tokens(values, tf.constant([[1], [0]]), tf.constant([[0], [1]]), 0)
    assert found.numpy().tolist() == [[9], [8]]
    empty = tf.ragged.constant([[], []], tf.int32)
    assert of_tokens(empty, tf.constant([[1]]), tf.constant([[0]]), 5).numpy().tolist() == [[5]]
