"""A byte-level tokenizer: no training, no unknown tokens, core TensorFlow ops only."""

from collections.abc import Iterable

import tensorflow as tf

from tflm.text.clean_text import replace_invalid_utf8
from tflm.text.compose_marks import every_spelling
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig, register_tokenizer

BYTES = [bytes([value]) for value in range(256)]


@register_tokenizer("byte")
class ByteTokenizer(Tokenizer):
    """Byte b has the id `first_byte_id + b`, after the special tokens (ByT5; Xue et al., 2022, section 3).

    Used instead of the ByteTokenizer of keras-nlp, which looks bytes up in a hash table and reserves no special ids.

    >>> ByteTokenizer(TokenizerConfig(kind="byte")).tokenize(["中"])
    <tf.RaggedTensor [[233, 189, 178]]>
    """

    reads_vocab_size = False

    def __init__(self, config: TokenizerConfig, asset: bytes = b"") -> None:
        self.first_byte_id = config.num_special_tokens
        super().__init__(config, asset, vocab_size=self.first_byte_id + 256)
        specials = [""] * self.first_byte_id
        specials[CORE_SPECIAL_TOKENS.index("unk")] = "\ufffd"
        self._pieces = tf.constant([piece.encode() for piece in specials] + BYTES)

    @property
    def lossless(self) -> bool:
        return True

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """No training: returns an empty asset without reading the texts."""
        return b""

    def piece_texts(self) -> list[bytes]:
        """The bytes."""
        return self.without_special(list(self._pieces.numpy()))

    def composed_spellings(self) -> dict[str, str]:
        """All, but for Hangul."""
        return every_spelling()

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        # All rows are joined, because decode_raw requires strings of equal length.
        raw = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        lengths = tf.cast(tf.strings.length(text, unit="BYTE"), tf.int64)
        return tf.RaggedTensor.from_row_lengths(
            tf.cast(raw, tf.int32) + self.first_byte_id, lengths, validate=False
        )

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return join_pieces(self._pieces, token_ids)


def join_pieces(pieces: tf.Tensor, token_ids: tf.RaggedTensor) -> tf.Tensor:
    """Concatenates the pieces of each row; invalid UTF-8 becomes U+FFFD.

    Args:
        pieces: string [V], raw bytes or characters.
        token_ids: RaggedTensor int32 [B, (T)].
    Returns:
        string [B].
    """
    strings = token_ids.with_flat_values(tf.gather(pieces, token_ids.flat_values))
    return replace_invalid_utf8(tf.strings.reduce_join(strings, axis=-1))
