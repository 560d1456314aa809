"""Text for training a vocabulary: checked, sampled, and cleaned by the tokenizer's own ops."""

import itertools
import re
from collections.abc import Iterable, Iterator

import tensorflow as tf

from tflm.errors import UserError
from tflm.text.clean_text import clean_text
from tflm.text.tokenizer_config import TokenizerConfig

MAX_CHARACTERS = 4_000_000
"""A vocabulary hardly changes beyond this much text, and SentencePiece learns from it in seconds."""

MAX_LINE = 1_000
"""Characters in a line. SentencePiece leaves out lines of more than 4,192 bytes without a word."""

# Between two of these a piece may grow. Besides line ends and tabs: NUL, and the two characters that
# SentencePiece keeps for itself (U+2581 for a space, U+2585 for unknown).
_LINE_ENDS = re.compile("[\0\t\n\r\u2581\u2585]+")


def sampled_lines(config: TokenizerConfig, texts: Iterable[str]) -> list[str]:
    """Lines from all over the texts, at most MAX_CHARACTERS of them, normalized.

    Whenever too much is held, every second line is let go and from then on only every second one is taken: so
    memory is bounded, one pass is enough, and the same texts always give the same lines.

    >>> sampled_lines(TokenizerConfig(), ["你好\\n\\nhello"])
    ['你好', 'hello']

    Raises:
        UserError: no text, or not strings.
    """
    lines: list[str] = []
    stride, held = 1, 0
    for index, line in enumerate(_lines(texts)):
        if index % stride == 0:
            lines.append(line)
            held += len(line)
        if held > MAX_CHARACTERS:
            lines, stride = lines[::2], stride * 2
            held = sum(map(len, lines))
    lines = [line for line in normalized_texts(config, lines) if line.strip()]
    if not lines:
        raise UserError("no text to train a tokenizer on: there was nothing but spaces and empty lines.")
    return lines


def normalized_texts(config: TokenizerConfig, texts: Iterable[str]) -> Iterator[str]:
    """Each text as the tokenizer will see it.

    Raises:
        UserError: one string instead of several, or something that is no string.
    """
    encoded = _encoded(texts)
    while batch := list(itertools.islice(encoded, 1_000)):
        cleaned = clean_text(tf.constant(batch), config.normalization_form, config.case_fold)
        for text in cleaned.numpy():
            yield text.decode()


def _encoded(texts: Iterable[str]) -> Iterator[bytes]:
    for text in _checked(texts):
        # A lone surrogate gives invalid UTF-8 here, which cleaning replaces.
        yield text.encode("utf-8", "surrogatepass")


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in _checked(texts):
        for line in _LINE_ENDS.split(text):
            for start in range(0, len(line), MAX_LINE):
                yield line[start : start + MAX_LINE]


def _checked(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str | bytes):
        raise UserError("texts is an iterable of strings; got a single one. Pass [text].")
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"texts is an iterable of str; got {type(text).__name__}: {text!r:.60}.")
        yield text
