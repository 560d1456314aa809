"""A tokenizer whose ids are UTF-8 bytes: no training, no unknown text, core ops alone."""

from collections.abc import Iterable

import tensorflow as tf

from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig

BYTES = [bytes([value]) for value in range(256)]


class ByteTokenizer(Tokenizer):
    """Byte b has the id `first_byte_id + b`, after the special tokens (Xue et al. 2022, ByT5, section 3).

    keras-nlp's ByteTokenizer looks each byte up in a hash table and keeps no room for special ids; reading
    the raw bytes and adding a number is less.

    >>> ByteTokenizer(TokenizerConfig(kind="byte")).tokenize(["中"])
    <tf.RaggedTensor [[233, 189, 178]]>
    """

    def __init__(self, config: TokenizerConfig, asset: bytes = b"") -> None:
        self.first_byte_id = config.num_special_tokens
        super().__init__(config, asset, vocab_size=self.first_byte_id + 256)
        specials = [""] * self.first_byte_id
        specials[self.unk_id] = "\ufffd"
        self._pieces = tf.constant([piece.encode() for piece in specials] + BYTES)

    @property
    def lossless(self) -> bool:
        return True

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """Nothing to learn; the texts are not read."""
        return b""

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        # All rows as one string, because decode_raw wants strings of one length.
        raw = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        lengths = tf.cast(tf.strings.length(text, unit="BYTE"), tf.int64)
        return tf.RaggedTensor.from_row_lengths(
            tf.cast(raw, tf.int32) + self.first_byte_id, lengths, validate=False
        )

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return join_pieces(self._pieces, token_ids)


def join_pieces(pieces: tf.Tensor, token_ids: tf.RaggedTensor) -> tf.Tensor:
    """Concatenates the pieces of each row; what is no UTF-8 becomes U+FFFD.

    Args:
        pieces: string [V], raw bytes or characters.
        token_ids: RaggedTensor int32 [B, (T)].
    Returns:
        string [B].
    """
    strings = token_ids.with_flat_values(tf.gather(pieces, token_ids.flat_values))
    return replace_invalid_utf8(tf.strings.reduce_join(strings, axis=-1))
