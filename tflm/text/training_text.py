"""Training text of tokenizers: validation, sampling and normalization."""

import itertools
import re
from collections.abc import Iterable, Iterator

import tensorflow as tf

from tflm.errors import UserError
from tflm.text.clean_text import clean_text
from tflm.text.tokenizer_config import TokenizerConfig

MAX_CHARACTERS = 4_000_000
"""Sample size. More text hardly changes a vocabulary, and SentencePiece trains on this much in seconds."""

MAX_LINE = 1_000
"""Maximum characters per line. SentencePiece silently skips lines of more than 4,192 bytes."""

# Pieces do not cross these characters: line ends, tabs, NUL, and the characters that SentencePiece reserves (U+2581 for
# a space, U+2585 for unknown).
_LINE_ENDS = re.compile("[\0\t\n\r\u2581\u2585]+")


def sampled_lines(config: TokenizerConfig, texts: Iterable[str]) -> list[str]:
    """A deterministic sample of normalized lines, evenly spaced over the texts, of at most MAX_CHARACTERS characters.

    Single pass with bounded memory: whenever the sample is too large, every second line is dropped and the stride
    doubles.

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
        raise UserError("no text to train a tokenizer on: found only spaces and empty lines.")
    return lines


def normalized_texts(config: TokenizerConfig, texts: Iterable[str]) -> Iterator[str]:
    """Normalizes each text as the tokenizer does.

    Raises:
        UserError: a single string instead of an iterable, or an item that is not a string.
    """
    encoded = _encoded(texts)
    while batch := list(itertools.islice(encoded, 1_000)):
        cleaned = clean_text(tf.constant(batch), config.normalization_form, config.case_fold)
        for text in cleaned.numpy():
            yield text.decode()


def _encoded(texts: Iterable[str]) -> Iterator[bytes]:
    for text in _validated(texts):
        # A lone surrogate becomes invalid UTF-8, which normalization replaces.
        yield text.encode("utf-8", "surrogatepass")


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in _validated(texts):
        for line in _LINE_ENDS.split(text):
            for start in range(0, len(line), MAX_LINE):
                yield line[start : start + MAX_LINE]


def _validated(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str | bytes):
        raise UserError("texts is an iterable of strings; got a single one. Pass [text].")
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"texts is an iterable of str; got {type(text).__name__}: {text!r:.60}.")
        yield text
