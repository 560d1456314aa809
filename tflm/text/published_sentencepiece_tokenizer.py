"""SentencePiece models of published checkpoints: Llama 2, Mistral, Gemma, T5, XLM-R."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
import tensorflow_text

from tflm.errors import UserError
from tflm.text.byte_tokenizer import join_pieces
from tflm.text.packed_asset import pack, unpack
from tflm.text.sentencepiece_model import Piece, serialized_model
from tflm.text.sentencepiece_tokenizer import SharedModel
from tflm.text.special_ids import SpecialIds
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TokenizerConfig, register_tokenizer

_MODEL, _PIECES = "sentencepiece.model", "pieces.json"
SPACE = "\u2581"


@dataclasses.dataclass(frozen=True)
class SpaceRules:
    """What is done with spaces before the pieces of a text are found. A text that has special tokens in it is several
    texts, of which each follows one."""

    prefix: str = "never"
    """Where a space is put before a text: "always", "first" (not after a special token) or "never"."""
    doubles_prefix: bool = True
    """Whether it is also put before a text that begins with a space."""
    collapses: bool = False
    """One space for several, and none at the ends; then the prefix is always there."""
    blanks: str = ""
    """The inside of a class of RE2: further characters that are spaces."""
    ends: str = ""
    """The same: characters that are removed at the end of a text, as spaces are."""

    def __post_init__(self) -> None:
        if self.prefix not in ("always", "first", "never") or (self.collapses and self.prefix == "first"):
            raise UserError(
                f"the tokenizer puts a space before a text {self.prefix!r}, which is not supported where it removes "
                "other spaces."
            )


@register_tokenizer("published_sentencepiece")
class PublishedSentencePieceTokenizer(Tokenizer):
    """A SentencePiece model with the ids of a checkpoint (Kudo and Richardson, 2018).

    Unlike the kind "sentencepiece", whose models keep every space, it treats spaces as the checkpoint does, and U+2581
    in a text is a space. Special and added tokens are "control" pieces, which no text gives.
    """

    asset_name = "published_sentencepiece.zip"
    default_normalization = "none"
    carries_spaces = True

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        settings, files = unpack(asset, self.asset_name)
        try:
            self._spaces = SpaceRules(**settings["spaces"])
            special_ids = SpecialIds.from_json(settings["special_ids"])
            pieces = [piece.encode("latin-1") for piece in json.loads(files[_PIECES])]
            self._model = tensorflow_text.SentencepieceTokenizer(files[_MODEL], out_type=tf.int32)
            self._model._model_resource = SharedModel(files[_MODEL])
        except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
            raise UserError(f"{self.asset_name} holds no SentencePiece vocabulary: {error}") from error
        super().__init__(config, asset, len(pieces), special_ids)
        self._pieces = tf.constant(pieces)

    @property
    def ops(self) -> tuple[str, ...]:
        return (*super().ops, "SentencepieceOp", "SentencepieceTokenizeOp")

    @property
    def lossless(self) -> bool:
        return False

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """None: these vocabularies come with a checkpoint."""
        raise UserError(
            'a tokenizer of kind "published_sentencepiece" comes with an imported checkpoint. To learn a vocabulary '
            'from text, set tokenizer.kind to "sentencepiece" or "byte_pair".'
        )

    def piece_texts(self) -> list[bytes]:
        """The pieces, with a space for U+2581."""
        return self.without_special(list(self._pieces.numpy()))

    def encode_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """As SentencePiece gives them, without the space before a text."""
        spaced = self._with_prefix(text, tf.ones_like(text, tf.bool))
        ids, begins, ends = self._model.tokenize_with_offsets(spaced)
        added = tf.gather(tf.strings.length(spaced) - tf.strings.length(text), ids.value_rowids())
        begins, ends = tf.cast(begins.flat_values, tf.int32), tf.cast(ends.flat_values, tf.int32)
        return ids, tf.maximum(begins - added, 0), tf.maximum(ends - added, 0)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        return self._encode_parts(text, tf.ones_like(text, tf.bool))

    def _encode_parts(self, text: tf.Tensor, is_first: tf.Tensor) -> tf.RaggedTensor:
        return self._model.tokenize(self._with_prefix(text, is_first))

    def _with_prefix(self, text: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Text with the space before it that the model itself does not put there."""
        if self._spaces.blanks:
            text = tf.strings.regex_replace(text, f"[{self._spaces.blanks}]", " ")
        if self._spaces.ends:
            text = tf.strings.regex_replace(text, f"[ {self._spaces.ends}]+$", "")
        if self._spaces.collapses or self._spaces.prefix == "never":
            return text
        here = tf.not_equal(text, "")
        if self._spaces.prefix == "first":
            here &= is_first
        if not self._spaces.doubles_prefix:
            here &= ~tf.strings.regex_full_match(text, rf"(?s)[ {SPACE}].*")
        return tf.where(here, " ", "") + text

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        text = join_pieces(self._pieces, token_ids)
        return text if self._spaces.prefix == "never" else tf.strings.regex_replace(text, "^ ", "")


def compile_sentencepiece(
    pieces: Sequence[Piece],
    algorithm: str,
    spaces: SpaceRules,
    special_ids: SpecialIds,
    vocab_size: int,
    *,
    charsmap: bytes = b"",
    added: Mapping[int, str],
) -> Tokenizer:
    """The tokenizer of a SentencePiece vocabulary.

    Args:
        pieces: by id; those of special and added tokens have a kind that no text gives.
        algorithm: "BPE" or "UNIGRAM".
        spaces: what is done with spaces.
        special_ids: ids that no text gives.
        vocab_size: number of ids.
        charsmap: compiled normalization of the model.
        added: texts of added tokens by id.
    """
    if not any(piece.kind == "UNKNOWN" for piece in pieces):
        pieces = [*pieces, Piece("\u2400unknown\u2400", 0.0, "UNKNOWN")]
    model = serialized_model(
        pieces,
        algorithm,
        charsmap=charsmap,
        add_dummy_prefix=spaces.collapses and spaces.prefix == "always",
        remove_extra_whitespaces=spaces.collapses,
        escape_whitespaces=True,
    )
    texts = [_bytes_of(piece) for piece in pieces[:vocab_size]]
    texts += [b""] * (vocab_size - len(texts))
    for token_id, text in added.items():
        texts[token_id] = text.encode()
    if special_ids.unk is not None:
        texts[special_ids.unk] = "\ufffd".encode()
    settings = {"spaces": dataclasses.asdict(spaces), "special_ids": dataclasses.asdict(special_ids)}
    written = json.dumps([text.decode("latin-1") for text in texts], ensure_ascii=False).encode()
    config = TokenizerConfig(
        kind="published_sentencepiece", vocab_size=vocab_size, normalization="none", special_tokens=()
    )
    return PublishedSentencePieceTokenizer(config, pack(settings, {_MODEL: model, _PIECES: written}))


def _bytes_of(piece: Piece) -> bytes:
    """What a piece writes."""
    if piece.kind == "BYTE":
        return bytes([int(piece.text[3:5], 16)])
    return b"" if piece.kind == "CONTROL" else piece.text.replace(SPACE, " ").encode()
