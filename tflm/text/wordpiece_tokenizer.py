"""WordPiece tokenization, for the published vocabularies of BERT and for new ones."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text

from tflm.errors import UserError
from tflm.text.clean_text import unicode_form
from tflm.text.learn_wordpieces import learn_wordpieces
from tflm.text.special_ids import SpecialIds
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig, register_tokenizer
from tflm.text.training_text import sampled_lines
from tflm.text.word_spacing import WordSpacing
from tflm.text.word_split import (
    clean_words,
    lone_characters,
    rules_of,
    split_bert_words,
    split_words_with_offsets,
    strips_accents,
)

ADDED = "\x01"
"""Begins the line of an added token of a published vocabulary, and of an id without a token: no word has it."""
# Longer words are unknown to BERT.
_MAX_CHARACTERS = 100
# Names of special tokens in the vocabularies of BERT, where they differ from the upper-case name.
_BERT_NAMES = {"start": "[CLS]", "end": "[SEP]", "separator": "[SEP]"}


@register_tokenizer("wordpiece")
class WordPieceTokenizer(Tokenizer):
    """WordPiece with the pre-tokenization of BERT: split at spaces, punctuation and Han characters (Devlin et al.,
    2019).

    Lossy: runs of white space become one space or none; control and format characters are removed (including zero-width
    joiners of emoji); spaces next to punctuation and between Han and Latin follow the rules of `WordSpacing`;
    out-of-vocabulary words become one U+FFFD; with `case_fold`, case and accents are removed.

        "Hello ,  world！ 我 爱Python"  ->  "Hello, world！我爱 Python"

    The op of tensorflow-text is used instead of the WordPieceTokenizer of keras-nlp, whose `lowercase` converts
    full-width punctuation, whose words do not end at U+3000, and whose `detokenize` adds spaces between Han characters.
    """

    asset_name = "vocabulary.txt"
    default_normalization = "nfc"

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        pieces = read_vocabulary(asset)
        names = CORE_SPECIAL_TOKENS + config.special_tokens
        ids = {name: _special_id(pieces, name) for name in names}
        special_ids = SpecialIds.by_name(config.special_tokens, ids)
        super().__init__(config, asset, len(pieces), _with_added(special_ids, pieces))
        self._rules = rules_of(config)
        self._words_to_pieces = tensorflow_text.FastWordpieceTokenizer(
            pieces,
            max_bytes_per_word=4 * _MAX_CHARACTERS if config.exact_bert else 100,
            token_out_type=tf.int32,
            unknown_token=pieces[ids["unk"]],
            no_pretokenization=True,
        )
        is_suffix = [piece.startswith("##") and len(piece) > 2 for piece in pieces]
        texts = [piece[2:] if suffix else piece for piece, suffix in zip(pieces, is_suffix)]
        texts = ["" if piece.startswith(ADDED) else piece for piece in texts]
        texts[ids["unk"]] = "\ufffd"
        self._texts, self._is_suffix = tf.constant(texts), np.array(is_suffix)
        self._spacing = WordSpacing.of_pieces(texts, is_suffix)

    @property
    def ops(self) -> tuple[str, ...]:
        normalizes = self.config.normalization_form or strips_accents(self.config)
        own = ("RegexSplitWithOffsets", "FastWordpieceTokenizeWithOffsets")
        return ("NormalizeUTF8", *own) if normalizes else own

    @property
    def lossless(self) -> bool:
        return False

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """A vocabulary of at most `vocab_size` pieces, one per line.

        Raises:
            UserError: no text, or a `vocab_size` too small for its characters.
        """
        lines = sampled_lines(config, texts)
        counts: collections.Counter[bytes] = collections.Counter()
        for start in range(0, len(lines), 1_000):
            batch = tf.constant(lines[start : start + 1_000])
            counts.update(split_bert_words(clean_words(batch, config), rules_of(config)).flat_values.numpy())
        word_counts = {word.decode(): count for word, count in counts.items()}
        specials = [f"[{name.upper()}]" for name in CORE_SPECIAL_TOKENS + config.special_tokens]
        lone = lone_characters(set().union(*word_counts), rules_of(config))
        return "\n".join(learn_wordpieces(word_counts, lone, specials, config.vocab_size)).encode()

    def piece_texts(self) -> list[bytes]:
        """The pieces, suffixes without "##"."""
        return self.without_special(list(self._texts.numpy()))

    def suffix_pieces(self) -> np.ndarray:
        """Those that begin with "##"."""
        return self._is_suffix

    def needs_space(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """See `WordSpacing`."""
        return self._spacing.needs_space(token_ids)

    def encode_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """Words by their place in the text, pieces by theirs in the word."""
        words, first = split_words_with_offsets(text, self._rules)
        known = self._known(words.flat_values)
        pieces, begins, ends = self._words_to_pieces.tokenize_with_offsets(known)
        ids = words.with_flat_values(pieces).merge_dims(1, 2)
        # A word that is replaced is one piece, which ends where the word does.
        longer = tf.strings.length(words.flat_values) - tf.strings.length(known)
        word = tf.gather(first.flat_values, pieces.value_rowids())
        ends = ends.flat_values + tf.cast(tf.gather(longer, pieces.value_rowids()), ends.dtype)
        return ids, word + begins.flat_values, word + ends

    def _known(self, words: tf.Tensor) -> tf.Tensor:
        """Words, string [W], where one of too many characters is one that no vocabulary has."""
        if not self.config.exact_bert:
            return words
        too_long = tf.strings.length(words, unit="UTF8_CHAR") > _MAX_CHARACTERS
        return tf.where(too_long, ADDED, words)

    def _clean(self, text: tf.Tensor) -> tf.Tensor:
        return clean_words(text, self.config)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        words = split_bert_words(text, self._rules)
        pieces = self._words_to_pieces.tokenize(self._known(words.flat_values))
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        texts = tf.gather(self._texts, token_ids.flat_values)
        spaces = tf.where(self._spacing.needs_space(token_ids), " ", "")
        text = tf.strings.reduce_join(token_ids.with_flat_values(spaces + texts), axis=-1)
        # Accent stripping decomposes characters, including Hangul syllables; NFC recomposes them.
        return unicode_form(text, "NFC") if strips_accents(self.config) else text


def _special_id(pieces: Sequence[str], name: str) -> int:
    candidates = [piece for piece in (f"[{name.upper()}]", _BERT_NAMES.get(name)) if piece]
    for piece in candidates:
        for written in (piece, ADDED + piece):
            if written in pieces:
                return pieces.index(written)
    wanted = " or ".join(candidates)
    raise UserError(f"the WordPiece vocabulary of {len(pieces)} pieces has no {wanted}, the {name} token.")


def _with_added(special_ids: SpecialIds, pieces: Sequence[str]) -> SpecialIds:
    """With the added tokens of a published vocabulary by their content."""
    added = {piece[len(ADDED) :]: index for index, piece in enumerate(pieces) if piece.startswith(ADDED)}
    named = {content: index for content, index in added.items() if content}
    return dataclasses.replace(special_ids, named={**named, **special_ids.named})


def read_vocabulary(asset: bytes) -> list[str]:
    """The pieces of a `vocab.txt`, one per line.

    Raises:
        UserError: not UTF-8, or duplicate pieces.
    """
    try:
        pieces = asset.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"a WordPiece vocabulary is UTF-8 text with one piece per line: {error}.") from error
    repeated = [piece for piece, count in collections.Counter(pieces).items() if count > 1]
    if repeated:
        raise UserError(f"a WordPiece vocabulary has each piece once; {repeated[0]!r} is duplicated.")
    return pieces
