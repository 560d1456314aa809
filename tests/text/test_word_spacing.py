"""Spaces between words, row by row."""

import pytest
import tensorflow as tf

from tflm.text.word_spacing import WordSpacing


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["Hello", ",", "world", "!"], "Hello, world!"),
        (["你", "好", "，", "世", "界", "！"], "你好，世界！"),
        (["用", "TensorFlow", "，", "Python", "写"], "用 TensorFlow，Python 写"),
        (["(", "really", ")", "[", "1", "]"], "(really) [1]"),
        (["他", "说", "“", "你", "好", "”", "…", "…", "走"], "他说“你好”……走"),
        (["he", "said", "“", "no", "”", "and", "left"], "he said “no” and left"),
        (["日", "本", "語", "のテキスト"], "日本語のテキスト"),
        (["これ", "それ"], "これ それ"),
        (["안녕", "세계"], "안녕 세계"),
        ([], ""),
    ],
)
def test_join(words, text):
    spacing = WordSpacing.of_pieces(words or ["x"], [False] * max(len(words), 1))
    ids = tf.RaggedTensor.from_row_lengths(
        tf.concat([tf.range(len(words))] * 2, 0), [len(words), 0, len(words)]
    )
    spaces = spacing.needs_space(ids).numpy()
    joined = [("" if not space else " ") + word for space, word in zip(spaces, words * 2)]
    assert "".join(joined[: len(words)]) == "".join(joined[len(words) :]) == text


def test_suffixes_stay_with_their_word():
    spacing = WordSpacing.of_pieces(["play", "ing", "cards"], [False, True, False])
    ids = tf.ragged.constant([[0, 1, 2], [1, 0]], dtype=tf.int32)
    assert spacing.needs_space(ids).numpy().tolist() == [False, False, True, False, True]
