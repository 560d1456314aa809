"""Blanks: split, marked, filled; spaces and Chinese."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.blanks import (
    BLANK,
    begin_words,
    fill_blanks,
    fill_candidates,
    fillings_with_spaces,
    split_at_blanks,
    tokens_with_marks,
)
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = ["I ____ you", "我爱____处理____", "", "____", "no blank ", "a________b", "__ _____", "____ ____ x"]


@pytest.fixture(scope="module", params=["byte", "sentencepiece", "wordpiece", "character"])
def tokenizer(request, tokenizers):
    return tokenizers[request.param]


def ragged(rows):
    return tf.ragged.constant(rows, tf.string, ragged_rank=1, row_splits_dtype=tf.int64)


def test_parts_and_blanks_are_the_text():
    parts = split_at_blanks(tf.constant(TEXTS))
    assert parts.to_list()[:4] == [
        [b"I ", b" you"],
        ["我爱".encode(), "处理".encode(), b""],
        [b""],
        [b"", b""],
    ]
    assert [BLANK.join(part.decode() for part in row) for row in parts.to_list()] == TEXTS
    assert split_at_blanks(tf.constant([b"a\xff____"])).to_list() == [["a\ufffd".encode(), b""]]


def test_marks_stand_between_the_tokens_of_the_parts(tokenizer):
    parts = split_at_blanks(tf.constant(TEXTS))
    rows = tokens_with_marks(tokenizer, parts, [900, 901]).to_list()
    for row, texts in zip(rows, parts.to_list(), strict=True):
        expected = []
        for index, text in enumerate(texts):
            last = index == len(texts) - 1
            if tokenizer.carries_spaces and not last and text.endswith(b" "):
                text = text[:-1]
            expected += tokenizer.tokenize([text]).to_list()[0] + ([] if last else [900 + min(index, 1)])
        assert row == expected


def test_sentencepiece_reads_a_blank_as_in_training(tokenizers):
    """A word hidden in a tokenised text leaves the same tokens as a blank in its place."""
    tokenizer = tokenizers["sentencepiece"]
    whole = tokenizer.tokenize(["the dog of the text"]).to_list()[0]
    pieces = tokenizer.piece_texts()
    place = next(i for i, token in enumerate(whole) if i and pieces[token] in (b" the", b" of"))
    blanked = (
        b"".join(pieces[t] for t in whole[:place])
        + b" ____"
        + b"".join(pieces[t] for t in whole[place + 1 :])
    )
    row = tokens_with_marks(tokenizer, split_at_blanks(tf.constant([blanked])), [4]).to_list()[0]
    assert row == [*whole[:place], 4, *whole[place + 1 :]]


def test_filling_keeps_what_the_user_wrote(tokenizer):
    parts = split_at_blanks(tf.constant(TEXTS))
    fillings = ragged([["love"], ["自然", "。"], [], ["x"], [], ["1"], [], ["A", "B"]])
    expected = ["I love you", "我爱自然处理。", "", "x", "no blank ", "a1____b", "__ _____", "A B x"]
    found = fill_blanks(tokenizer, parts, fillings)
    assert [text.decode() for text in found.numpy()] == expected
    spaced = fill_blanks(tokenizer, parts, fillings_with_spaces(tokenizer, parts, fillings))
    assert [text.decode() for text in spaced.numpy()] == expected


def test_a_filling_brings_no_second_space(tokenizers):
    tokenizer = tokenizers["sentencepiece"]
    parts = split_at_blanks(tf.constant(["I ____ you", "I____ you", "____ you"]))
    found = fill_blanks(tokenizer, parts, ragged([[" love"], [" love"], ["We"]]))
    assert found.numpy().tolist() == [b"I love you", b"I love you", b"We you"]
    spaced = fillings_with_spaces(tokenizer, parts, ragged([["love", "more"], ["d"], [" We"]]))
    assert spaced.to_list() == [[b" love", b"more"], [b"d"], [b" We"]]


def test_which_blanks_begin_a_word(tokenizers):
    parts = split_at_blanks(tf.constant(["I ____ you____", "____", "play____ ____"]))
    assert begin_words(tokenizers["sentencepiece"], parts).to_list() == [
        [True, False],
        [False],
        [False, True],
    ]
    assert begin_words(tokenizers["wordpiece"], parts).to_list() == [[True, False], [True], [False, True]]


def test_candidates(tokenizer):
    inside, beginning = fill_candidates(tokenizer)
    texts = tokenizer.piece_texts()
    for index in np.flatnonzero(inside | beginning):
        assert texts[index].decode() and index > 4
    if tokenizer.carries_spaces:
        assert not (inside & beginning).any() and inside.any()
        assert all(
            texts[index].startswith(b" ") and texts[index].strip() for index in np.flatnonzero(beginning)
        )
    else:
        assert (beginning <= inside).all() and beginning.any()
    kinds = {"byte": 128, "character": None}
    if kinds.get(tokenizer.config.kind):
        assert inside.sum() == kinds[tokenizer.config.kind]


def test_suffixes_do_not_begin_a_word():
    tokenizer = train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=40), ["abc abd 你好 bcd"] * 3)
    inside, beginning = fill_candidates(tokenizer)
    pieces = tokenizer._asset.decode().split("\n")
    assert {pieces[i] for i in np.flatnonzero(inside & ~beginning)} == {
        p for p in pieces if p.startswith("##")
    }
