"""Initial token embeddings from pretrained word vectors."""

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.text.tokenizer import Tokenizer
from tflm.text.word_vectors import VectorTable


def vocabulary_texts(tokenizer: Tokenizer) -> list[str]:
    """The stripped text of each token of the vocabulary; "" for special tokens.

    >>> vocabulary_texts(tokenizer)[40:44]
    ['file', '质量', 'tensor', '，']
    """
    ids = tf.range(tokenizer.vocab_size)[:, None]
    return [text.decode().strip() for text in tokenizer.detokenize(ids).numpy()]


def vocabulary_words(tokenizer: Tokenizer) -> set[str]:
    """The words that `initial_embedding` looks up: the text of each token, and its lower case."""
    texts = vocabulary_texts(tokenizer)
    return {*texts, *(text.lower() for text in texts)} - {""}


def initial_embedding(
    tokenizer: Tokenizer, table: VectorTable, seed: int, stddev: float | None = None
) -> tuple[np.ndarray, int]:
    """An embedding initialized with the word vector of each token's text, or of its lower case.

    Rows of tokens without a vector (special tokens, bytes, subwords) are drawn from a normal distribution with the
    standard deviation of the vectors.

    Args:
        tokenizer: a tokenizer with V tokens.
        table: from `read_word_vectors(path, wanted=vocabulary_words(tokenizer))`.
        seed: int, seed of the random rows.
        stddev: float, standard deviation of the random rows; None for that of the vectors.
    Returns:
        float32 [V, D], and the number of rows from the file.
    Raises:
        UserError: no token of the vocabulary is in the file.
    """
    places = {word: place for place, word in enumerate(table.words)}
    texts = vocabulary_texts(tokenizer)
    found = np.array([places.get(text, places.get(text.lower(), -1)) for text in texts])
    num_found = int((found >= 0).sum())
    if not num_found:
        raise UserError(
            f"none of the {tokenizer.vocab_size} tokens of the vocabulary is among the {len(places)} words of the "
            "file. Is it a file of another language?"
        )
    if stddev is None:
        stddev = float(table.vectors.std())
    drawn = np.random.default_rng(seed).normal(0.0, stddev, (len(texts), table.vectors.shape[1]))
    rows = np.where(found[:, None] >= 0, table.vectors[found], drawn)
    return rows.astype(np.float32), num_found
