"""A character-level tokenizer (code points), with core TensorFlow ops only."""

import collections
import json
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.text.byte_tokenizer import BYTES, join_pieces
from tflm.text.compose_marks import spellings_of
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig, register_tokenizer
from tflm.text.training_text import normalized_texts


@register_tokenizer("character")
class CharacterTokenizer(Tokenizer):
    """Ids in order: special tokens, 256 bytes (with `byte_fallback`), characters by descending frequency.

    Out-of-vocabulary characters become their UTF-8 bytes, or unk without byte fallback.

    The lookup is a binary search in the sorted code points, which needs no hash table resource. The
    UnicodeCodepointTokenizer of keras-nlp uses code points as ids, which needs an embedding of 1,114,112 rows.

    >>> tokenizer = train_tokenizer(TokenizerConfig(kind="character", byte_fallback=False), ["bba"])
    >>> tokenizer.tokenize(["abc"])
    <tf.RaggedTensor [[6, 5, 3]]>
    """

    asset_name = "characters.json"

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        characters = _read(asset)
        self.first_byte_id = config.num_special_tokens
        num_bytes = 256 if config.byte_fallback else 0
        first_character_id = self.first_byte_id + num_bytes
        super().__init__(config, asset, vocab_size=first_character_id + len(characters))
        specials = [""] * self.first_byte_id
        specials[CORE_SPECIAL_TOKENS.index("unk")] = "\ufffd"
        encoded = [character.encode() for character in characters]
        self._pieces = tf.constant([piece.encode() for piece in specials] + BYTES[:num_bytes] + encoded)
        code_points = np.array([ord(character) for character in characters], np.int32)
        order = np.argsort(code_points)
        self._code_points = tf.constant(code_points[order])
        self._ids = tf.constant((order + first_character_id).astype(np.int32))

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """The most frequent characters of the texts, up to `vocab_size`, as JSON.

        Raises:
            UserError: no text, or a `vocab_size` without room for a character.
        """
        room = config.vocab_size - config.num_special_tokens - (256 if config.byte_fallback else 0)
        if room < 1:
            raise UserError(
                f"vocab_size={config.vocab_size} leaves no room for characters in addition to the special tokens"
                f"{' and the 256 bytes' if config.byte_fallback else ''}. "
                f"Set vocab_size to more than {config.vocab_size - room}."
            )
        counts: collections.Counter[str] = collections.Counter()
        for text in normalized_texts(config, texts):
            counts.update(text)
        if not counts:
            raise UserError("no text to train a tokenizer on: every text was empty.")
        by_frequency = sorted(counts, key=lambda character: (-counts[character], character))
        return json.dumps(by_frequency[:room], ensure_ascii=False).encode()

    def piece_texts(self) -> list[bytes]:
        """The bytes and the characters."""
        return self.without_special(list(self._pieces.numpy()))

    def composed_spellings(self) -> dict[str, str]:
        """Those of the vocabulary's characters."""
        return spellings_of(json.loads(self._asset))

    def encode_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Without the bytes, a token is a character, known or not; see `Tokenizer.encode_with_offsets`."""
        if self.lossless:
            return super().encode_with_offsets(text)
        ids = self._encode(text)
        lengths = tf.strings.length(tf.strings.unicode_split(text, "UTF-8").flat_values)
        return ids, *self.offsets_of(ids, lengths)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        code_points = tf.strings.unicode_decode(text, "UTF-8")
        flat = code_points.flat_values
        place = tf.minimum(tf.searchsorted(self._code_points, flat), tf.size(self._code_points) - 1)
        known = tf.gather(self._code_points, place) == flat
        ids = tf.gather(self._ids, place)
        if not self.config.byte_fallback:
            return code_points.with_flat_values(tf.where(known, ids, self.unk_id))
        return self._with_bytes(code_points, ids, known)

    def _with_bytes(self, code_points: tf.RaggedTensor, ids: tf.Tensor, known: tf.Tensor) -> tf.RaggedTensor:
        """Ids of known characters, and byte ids of the UTF-8 of others.

        Each character has four slots, [N, 4]: known characters use one, others one per byte.
        """
        utf8 = utf8_bytes(code_points.flat_values)
        first = tf.stack([ids, *[tf.fill(tf.shape(ids), -1)] * 3], axis=1)
        places = tf.where(known[:, None], first, tf.where(utf8 < 0, utf8, utf8 + self.first_byte_id))
        filled = places >= 0
        num_tokens = tf.reduce_sum(tf.cast(filled, tf.int64), axis=1)
        ends = tf.concat([[0], tf.cumsum(num_tokens)], axis=0)
        return tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(places, filled), tf.gather(ends, code_points.row_splits), validate=False
        )

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return join_pieces(self._pieces, token_ids)


def utf8_bytes(code_points: tf.Tensor) -> tf.Tensor:
    """UTF-8 bytes of code points (RFC 3629, section 3), padded with -1.

    >>> utf8_bytes([0x41, 0x4E2D])
    [[0x41, -1, -1, -1], [0xE4, 0xB8, 0xAD, -1]]

    Args:
        code_points: int32 [N].
    Returns:
        int32 [N, 4].
    """
    length = 1 + sum(tf.cast(code_points >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))
    columns = []
    for index in range(4):
        shift = tf.maximum(6 * (length - 1 - index), 0)
        bits = tf.bitwise.right_shift(code_points, shift)
        lead = tf.gather([0x00, 0x00, 0xC0, 0xE0, 0xF0], length)
        byte = bits + lead if index == 0 else 0x80 + tf.bitwise.bitwise_and(bits, 0x3F)
        columns.append(tf.where(index < length, byte, -1))
    return tf.stack(columns, axis=1)


def _read(asset: bytes) -> list[str]:
    try:
        characters = json.loads(asset)
        if characters and all(len(character) == 1 for character in characters):
            return characters
    except (ValueError, TypeError):
        pass
    raise UserError(
        'characters.json is not a vocabulary: expected a JSON list of characters, ["e", "t", ...].'
    )
