"""The first embedding of a vocabulary, from a file of word vectors."""

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.text.tokenizer import Tokenizer
from tflm.text.word_vectors import VectorTable


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """The text of each id of the vocabulary by itself, without the spaces around it; "" for the special ones.

    >>> token_texts(tokenizer)[40:44]
    ['file', '质量', 'tensor', '，']
    """
    ids = tf.range(tokenizer.vocab_size)[:, None]
    return [text.decode().strip() for text in tokenizer.detokenize(ids).numpy()]


def vocabulary_words(tokenizer: Tokenizer) -> set[str]:
    """What `initial_embedding` looks for in a file of vectors: each token's text, and it in lower case."""
    texts = token_texts(tokenizer)
    return {*texts, *(text.lower() for text in texts)} - {""}


def initial_embedding(
    tokenizer: Tokenizer, table: VectorTable, seed: int, stddev: float | None = None
) -> tuple[np.ndarray, int]:
    """An embedding whose rows are the vectors of each token's text; of its lower case, where the file has no other.

    Rows for what the file does not have (special tokens, bytes, parts of words) are drawn from a normal
    distribution, as wide as the file's own numbers are, so that no row stands out.

    Args:
        tokenizer: whose vocabulary, V.
        table: from `read_word_vectors(path, wanted=vocabulary_words(tokenizer))`.
        seed: of the draw.
        stddev: of the draw; None for that of the vectors.
    Returns:
        float32 [V, D], and how many rows are from the file.
    Raises:
        UserError: the file has none of the vocabulary.
    """
    places = {word: place for place, word in enumerate(table.words)}
    texts = token_texts(tokenizer)
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
