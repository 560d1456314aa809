"""What each token writes, as bytes: so a text that was cut into tokens can be cut at other places beside them."""

import numpy as np
import tensorflow as tf

from tflm.text.byte_tokenizer import BYTES
from tflm.text.tokenizer import Tokenizer


def token_texts(tokenizer: Tokenizer, token_ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """The bytes of each token, with the space before it where the token carries one; joined, they are the text.

    >>> token_texts(sentencepiece_tokenizer, sentencepiece_tokenizer.tokenize(["I love 世"]))
    [["I", " love", " ", "\\xe4", "\\xb8", "\\x96"]]

    Args:
        tokenizer: of any kind.
        token_ids: RaggedTensor int32 [B, (T)], as `tokenize` gave them.
    Returns:
        RaggedTensor string [B, (T)].
    """
    texts = tf.gather(tf.constant(piece_texts(tokenizer)), token_ids.flat_values)
    if tokenizer.config.kind == "wordpiece":
        texts = tf.where(tokenizer._spacing.needs_space(token_ids), " ", "") + texts
    return token_ids.with_flat_values(texts)


def piece_texts(tokenizer: Tokenizer) -> list[bytes]:
    """What each id writes by itself, [V]; special tokens nothing, a suffix of a word no "##"."""
    match tokenizer.config.kind:
        case "sentencepiece":
            return _sentencepiece_texts(tokenizer)
        case "wordpiece":
            texts = list(tokenizer._texts.numpy())
        case _:
            texts = list(tokenizer._pieces.numpy())
    for index in special_ids(tokenizer):
        texts[index] = "\ufffd".encode() if index == tokenizer.unk_id else b""
    return texts


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """pad, start, end, unk and the named ones, each once, rising: what no text of a user becomes, but unk."""
    core = (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id)
    return sorted({*core, *tokenizer.special_tokens.values()})


def suffix_pieces(tokenizer: Tokenizer) -> np.ndarray:
    """bool [V], True where a piece continues a word that is cut at spaces; all False for pieces that carry their
    spaces."""
    if tokenizer.config.kind != "wordpiece":
        return np.zeros(tokenizer.vocab_size, bool)
    pieces = tokenizer._asset.decode().split("\n")
    return np.array([piece.startswith("##") and len(piece) > 2 for piece in pieces])


def _sentencepiece_texts(tokenizer: Tokenizer) -> list[bytes]:
    first_byte = tokenizer.config.num_special_tokens
    with tf.init_scope():
        pieces = tokenizer._model.id_to_string(tf.range(tokenizer.vocab_size)).numpy()
    # A space is written as U+2581 there.
    texts = [piece.replace("\u2581".encode(), b" ") for piece in pieces]
    texts[:first_byte] = [b""] * first_byte
    texts[tokenizer.unk_id] = "\ufffd".encode()
    if tokenizer.config.byte_fallback:
        texts[first_byte : first_byte + 256] = BYTES
    return texts
