"""Word numbers beside the pieces that a tokenizer made, against words found in Python."""

import gzip
import re

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.tasks.features.masking import WholeWords
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.token_texts import token_texts

WORDS = ["自然", "自然语言", "语言", "处理", "语言模型", "模型", "世界", "你好", "学习", "处"]
TEXTS = [
    "Hello, world! The quick  brown fox",
    "我爱自然语言处理，世界你好",
    "Mixed 中文模型 and English：我用 TensorFlow2 训练语言模型。 ",
    "",
    "   ",
    "自然语学习者 words\tof 这 text\n😀😀 don't",
]


@pytest.fixture
def word_list(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(f"{word} 3 n" for word in WORDS) + "\n\nT恤\nhello\n", encoding="utf-8")
    return str(path)


def python_words(text, words):
    """Forward maximum matching, character by character; spaces go with the word after them, or at the end with the
    last."""
    found, place = [], 0
    while text[place:].strip():
        start = place
        while place < len(text) and text[place].isspace():
            place += 1
        longest = max((word for word in words if text.startswith(word, place)), key=len, default="")
        run = re.match(r"(?:[^\W_\u3040-\u30ff\u4e00-\u9fff])+", text[place:])
        place += len(longest) or (len(run[0]) if run else 1)
        found.append(text[start:place])
    return [*found[:-1], found[-1] + text[place:]] if found else [text]


def slow_numbers(texts, words):
    """A token begins a word where a word begins with its first byte."""
    starts, end = set(), 0
    for word in words:
        starts.add(end)
        end += len(word.encode())
    numbers, number, place = [], 0, 0
    for text in texts:
        number += place in starts and place > 0
        numbers.append(number)
        place += len(text)
    return numbers


@pytest.mark.parametrize("kind", ["byte", "sentencepiece", "wordpiece", "character"])
@pytest.mark.parametrize("with_list", [True, False])
def test_numbers_beside_the_words_found_in_python(tokenizers, word_list, kind, with_list):
    tokenizer = tokenizers[kind]
    rng = np.random.default_rng(0)
    characters = list("自然语言处理模型学习我a b.")
    texts = TEXTS + ["".join(rng.choice(characters, 30)) for _ in range(20)]
    rows = tokenizer.tokenize(texts)
    numbers = WholeWords(tokenizer, word_list if with_list else "")(rows)
    assert numbers.dtype == tf.int32
    for row, found in zip(token_texts(tokenizer, rows).to_list(), numbers.to_list(), strict=True):
        words = python_words(b"".join(row).decode(), WORDS if with_list else [])
        assert found == slow_numbers(row, words), (row, words)


def test_by_hand(word_list):
    tokenizer = train_tokenizer(TokenizerConfig(kind="character"), TEXTS)
    numbers = WholeWords(tokenizer, word_list)(tokenizer.tokenize(["我爱自然语言处理, ok"])).to_list()[0]
    assert numbers == [0, 1, 2, 2, 2, 2, 3, 3, 4, 5, 5, 5]
    numbers = WholeWords(tokenizer)(tokenizer.tokenize(["自然ok ok"])).to_list()[0]
    assert numbers == [0, 1, 2, 2, 3, 3, 3]


def test_a_token_that_straddles_two_words_makes_them_one(tokenizers, word_list, monkeypatch):
    texts = tf.ragged.constant([["自", "然处", "理", "好"], ["自", "然", "处", "理"]])
    monkeypatch.setattr("tflm.tasks.features.masking.token_texts", lambda tokenizer, token_ids: texts)
    rows = tf.ragged.constant([[9] * 4] * 2, tf.int32)
    assert WholeWords(tokenizers["byte"], word_list)(rows).to_list() == [[0, 0, 0, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    "content,message",
    [
        (
            None,
            "cannot read task.word_list='.*': No such file or directory. It is a text file, one word a line",
        ),
        (b"hello\nworld\n", "has no word in a script without spaces, such as Chinese. Give another list"),
        (b"", "has no word in a script without spaces"),
        ("你好".encode("gbk"), "word_list='.*' is not UTF-8: .*; save the file as UTF-8"),
        (
            "自然 n\n语言 n\n".encode("utf-16-le"),
            "looks like UTF-16-LE without a byte-order mark; save the file",
        ),
        ("自然\0语言".encode(), "is not a text file: it holds NUL bytes"),
    ],
)
def test_word_lists_that_are_none(tmp_path, tokenizers, content, message):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        WholeWords(tokenizers["byte"], str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_packed_word_list_with_a_byte_order_mark(tmp_path, tokenizers, word_list, encoding):
    marked = tmp_path / "marked.txt"
    with open(word_list, encoding="utf-8") as file:
        marked.write_bytes(gzip.compress(file.read().replace("\n", "\r\n").encode(encoding)))
    rows = tokenizers["byte"].tokenize(["我爱自然语言处理"])
    expected = WholeWords(tokenizers["byte"], word_list)(rows).to_list()
    assert WholeWords(tokenizers["byte"], str(marked))(rows).to_list() == expected
