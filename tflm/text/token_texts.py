"""The text of each token as bytes, to split a tokenized text at positions inside tokens."""

import tensorflow as tf

from tflm.text.tokenizer import Tokenizer


def token_texts(tokenizer: Tokenizer, token_ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """The bytes of each token, including its leading space; their concatenation is the text.

    >>> token_texts(sentencepiece_tokenizer, sentencepiece_tokenizer.tokenize(["I love 世"]))
    [["I", " love", " ", "\\xe4", "\\xb8", "\\x96"]]

    Args:
        tokenizer: any tokenizer.
        token_ids: RaggedTensor int32 [B, (T)], from `tokenize`.
    Returns:
        RaggedTensor string [B, (T)].
    """
    texts = tf.gather(tf.constant(tokenizer.piece_texts()), token_ids.flat_values)
    needs_space = tokenizer.needs_space(token_ids)
    if needs_space is not None:
        texts = tf.where(needs_space, " ", "") + texts
    return token_ids.with_flat_values(texts)


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """Sorted distinct ids of pad, start, end, unk and the named special tokens; no user text gives them, except unk."""
    core = (tokenizer.pad_id, tokenizer.start_id, *tokenizer.end_ids, tokenizer.unk_id)
    named = tokenizer.special_tokens.values()
    return sorted({token_id for token_id in (*core, *named) if token_id is not None})
