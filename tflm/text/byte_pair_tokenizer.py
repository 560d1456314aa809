"""Byte-level byte pair encoding: GPT-2, Llama 3, Qwen, DeepSeek; and vocabularies learned from a user's text."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
import tensorflow_text

from tflm.errors import UserError
from tflm.text.byte_tokenizer import join_pieces
from tflm.text.merge_model import Merge, merge_model
from tflm.text.packed_asset import pack, unpack
from tflm.text.sentencepiece_tokenizer import SharedModel
from tflm.text.special_ids import SpecialIds
from tflm.text.split_patterns import CUT, QWEN2, Pass, split_passes
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig, register_tokenizer
from tflm.text.training_text import sampled_lines

_MODEL, _PIECES = "sentencepiece.model", "pieces.json"
# Bytes that valid UTF-8 does not have.
_NEVER = frozenset([0xC0, 0xC1, *range(0xF5, 0x100)])


@register_tokenizer("byte_pair")
class BytePairTokenizer(Tokenizer):
    """Words by a regular expression, and merges of their bytes (Sennrich et al., 2016; Radford et al., 2019).

    Equal to `tokenizers`, in the graph:

        text -> valid UTF-8, NFC -> cuts between words (RE2) -> bytes as Latin-1 -> merges (SentencePiece) -> ids

    Ids of a learned vocabulary in order: special tokens, 256 bytes, merges. Published ones keep their ids. No text
    gives a special or added token, and none gives unk.

    The BytePairTokenizer of keras-nlp splits texts as GPT-2 does for every vocabulary, so texts in Chinese differ, and
    it merges in a while loop with a hash table.
    """

    asset_name = "byte_pair.zip"
    default_normalization = "nfc"
    carries_spaces = True

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        settings, files = unpack(asset, self.asset_name)
        try:
            self._passes = tuple((each, rewrite.encode("latin-1")) for each, rewrite in settings["passes"])
            self._cut_id = settings["cut_id"]
            special_ids = SpecialIds.from_json(settings["special_ids"])
            pieces = [piece.encode("latin-1") for piece in json.loads(files[_PIECES])]
            self._model = tensorflow_text.SentencepieceTokenizer(files[_MODEL], out_type=tf.int32)
            self._model._model_resource = SharedModel(files[_MODEL])
        except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
            raise UserError(f"{self.asset_name} holds no byte-level vocabulary: {error}") from error
        super().__init__(config, asset, settings["vocab_size"], special_ids)
        self._pieces = tf.constant(pieces)

    @property
    def ops(self) -> tuple[str, ...]:
        return (*super().ops, "SentencepieceOp", "SentencepieceTokenizeOp")

    @property
    def lossless(self) -> bool:
        return True

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """A vocabulary of at most `vocab_size` tokens, cut by the pattern of Qwen; deterministic.

        Raises:
            UserError: no text, or a `vocab_size` without room for the bytes.
        """
        from tokenizers import Regex, pre_tokenizers, trainers
        from tokenizers import Tokenizer as Trained
        from tokenizers.models import BPE

        names = CORE_SPECIAL_TOKENS + config.special_tokens
        if config.vocab_size < len(names) + 256:
            raise UserError(
                f"vocab_size={config.vocab_size} has no room for {len(names)} special tokens and 256 bytes. Set "
                f"vocab_size to {len(names) + 256} or more."
            )
        trained = Trained(BPE())
        trained.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=config.vocab_size - len(names),
            show_progress=False,
            initial_alphabet=sorted(BYTE_OF_CHARACTER),
        )
        trained.train_from_iterator(sampled_lines(config, texts), trainer)
        model = json.loads(trained.to_str())["model"]
        merged = sorted((token for token in model["vocab"] if len(token) > 1), key=model["vocab"].__getitem__)
        learned = [*map(chr, range(256)), *map(as_latin1, merged)]
        ids = {token: len(names) + index for index, token in enumerate(learned)}
        return compile_byte_pair(
            BytePairs(ids, [(as_latin1(left), as_latin1(right)) for left, right in model["merges"]]),
            split_passes(QWEN2),
            SpecialIds.by_name(config.special_tokens),
            len(names) + len(learned),
        )

    def piece_texts(self) -> list[bytes]:
        """The bytes of the tokens."""
        return self.without_special(list(self._pieces.numpy()))

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        for pattern, rewrite in self._passes:
            text = tf.strings.regex_replace(text, pattern, rewrite)
        ids = self._model.tokenize(tf.strings.unicode_transcode(text, "ISO-8859-1", "UTF-8"))
        keep = tf.not_equal(ids.flat_values, self._cut_id)
        counts = tf.concat([[0], tf.cumsum(tf.cast(keep, tf.int64))], axis=0)
        return tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(ids.flat_values, keep), tf.gather(counts, ids.row_splits), validate=False
        )

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        return join_pieces(self._pieces, token_ids)


@dataclasses.dataclass(frozen=True)
class BytePairs:
    """A byte-level vocabulary. A token is written as text of the characters U+0000 to U+00FF, one for each byte."""

    tokens: Mapping[str, int]
    """Ids, without those of special and added tokens."""
    merges: Sequence[Merge]
    ignore_merges: bool = False
    """A word that is a token is that token, also where no merges make it."""


def compile_byte_pair(
    pairs: BytePairs,
    passes: Sequence[Pass],
    special_ids: SpecialIds,
    vocab_size: int,
    added: Mapping[int, str] | None = None,
) -> bytes:
    """The asset of a `BytePairTokenizer`.

    Args:
        pairs: the vocabulary.
        passes: of `split_passes`.
        special_ids: ids that no text gives.
        vocab_size: number of ids; those without a token write nothing.
        added: texts of added tokens by id.
    Raises:
        UserError: the vocabulary lacks a byte.
    """
    missing = [f"0x{byte:02X}" for byte in range(256) if byte not in _NEVER and chr(byte) not in pairs.tokens]
    if missing:
        raise UserError(
            f"the byte-level vocabulary has no token for {len(missing)} of the bytes, such as {missing[0]}; without "
            "them a text has no ids."
        )
    tokens = dict(pairs.tokens)
    cut = CUT.decode("latin-1")
    # No text has the byte FF, so its token, if there is one, is free to stand for a cut.
    cut_id = tokens.setdefault(cut, max(vocab_size, max(tokens.values()) + 1))
    whole = (lambda token: cut + token + cut) if pairs.ignore_merges else None
    pieces = [b""] * vocab_size
    for token, token_id in pairs.tokens.items():
        pieces[token_id] = token.encode("latin-1")
    for token_id, text in (added or {}).items():
        pieces[token_id] = text.encode()
    if special_ids.unk is not None:
        pieces[special_ids.unk] = "\ufffd".encode()
    settings = {
        "passes": [(pattern, rewrite.decode("latin-1")) for pattern, rewrite in passes],
        "cut_id": cut_id,
        "special_ids": dataclasses.asdict(special_ids),
        "vocab_size": vocab_size,
    }
    texts = json.dumps([piece.decode("latin-1") for piece in pieces], ensure_ascii=False).encode()
    return pack(settings, {_MODEL: merge_model(tokens, pairs.merges, whole=whole), _PIECES: texts})


def _byte_characters() -> dict[str, int]:
    """The characters with which published vocabularies write bytes: printable ones stand for themselves, the others are
    numbered from U+0100 (Radford et al., 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTE_OF_CHARACTER = _byte_characters()
_CHARACTERS = frozenset(BYTE_OF_CHARACTER)
_TO_LATIN1 = str.maketrans({character: chr(byte) for character, byte in BYTE_OF_CHARACTER.items()})


def as_latin1(token: str) -> str:
    """A token of a published vocabulary as text of its bytes.

    >>> as_latin1("Ġyou").encode("latin-1")
    b' you'

    Raises:
        UserError: a character that stands for no byte.
    """
    if not _CHARACTERS.issuperset(token):
        unknown = min(set(token) - _CHARACTERS)
        raise UserError(
            f"the vocabulary is not byte-level: its token {token!r} has {unknown!r}, which stands for no byte."
        )
    return token.translate(_TO_LATIN1)
