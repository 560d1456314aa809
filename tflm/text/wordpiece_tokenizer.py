"""WordPiece, for BERT's published vocabularies and for new ones of their kind."""

import collections
from collections.abc import Iterable, Sequence

import tensorflow as tf
import tensorflow_text

from tflm.errors import UserError
from tflm.text.clean_text import unicode_form
from tflm.text.learn_wordpieces import learn_wordpieces
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import CORE_SPECIAL_TOKENS, TokenizerConfig
from tflm.text.training_text import sampled_lines
from tflm.text.word_spacing import WordSpacing
from tflm.text.word_split import clean_words, lone_characters, split_words

# What BERT's vocabularies call special tokens whose name in upper case they do not have.
_BERT_NAMES = {"start": "[CLS]", "end": "[SEP]", "separator": "[SEP]"}


class WordPieceTokenizer(Tokenizer):
    """Words, cut at spaces, punctuation and Han characters, then into pieces (Devlin et al. 2019, BERT).

    What is lost, and what `normalize` therefore shows: runs of spaces, tabs and line ends are one space or
    none; control and format characters go (the zero-width joiners of emoji too); whether a space stands
    beside punctuation or between Han and Latin is decided anew (`WordSpacing`); a word that the vocabulary
    cannot spell is one U+FFFD; with `case_fold`, capitals and accents.

        "Hello ,  world！ 我 爱Python"  ->  "Hello, world！我爱 Python"

    It calls the op below keras-nlp's WordPieceTokenizer: that layer's `lowercase` makes full-width
    punctuation half-width, its words do not end at U+3000, and its `detokenize` puts a space between Han
    characters.
    """

    asset_name = "vocabulary.txt"

    def __init__(self, config: TokenizerConfig, asset: bytes) -> None:
        pieces = read_vocabulary(asset)
        names = CORE_SPECIAL_TOKENS + config.special_tokens
        super().__init__(config, asset, len(pieces), {name: _special_id(pieces, name) for name in names})
        self._words_to_pieces = tensorflow_text.FastWordpieceTokenizer(
            pieces, token_out_type=tf.int32, unknown_token=pieces[self.unk_id], no_pretokenization=True
        )
        is_suffix = [piece.startswith("##") and len(piece) > 2 for piece in pieces]
        texts = [piece[2:] if suffix else piece for piece, suffix in zip(pieces, is_suffix)]
        texts[self.unk_id] = "\ufffd"
        self._texts = tf.constant(texts)
        self._spacing = WordSpacing.of_pieces(texts, is_suffix)

    @property
    def ops(self) -> tuple[str, ...]:
        normalizes = self.config.normalization_form or self.config.case_fold
        own = ("RegexSplitWithOffsets", "FastWordpieceTokenizeWithOffsets")
        return ("NormalizeUTF8", *own) if normalizes else own

    @property
    def lossless(self) -> bool:
        return False

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> bytes:
        """A vocabulary of at most `vocab_size` pieces, one a line.

        Raises:
            UserError: no text, or a `vocab_size` too small for its characters.
        """
        lines = sampled_lines(config, texts)
        counts: collections.Counter[bytes] = collections.Counter()
        for start in range(0, len(lines), 1_000):
            batch = tf.constant(lines[start : start + 1_000])
            counts.update(split_words(clean_words(batch, config)).flat_values.numpy())
        word_counts = {word.decode(): count for word, count in counts.items()}
        specials = [f"[{name.upper()}]" for name in CORE_SPECIAL_TOKENS + config.special_tokens]
        lone = lone_characters(set().union(*word_counts))
        return "\n".join(learn_wordpieces(word_counts, lone, specials, config.vocab_size)).encode()

    def _clean(self, text: tf.Tensor) -> tf.Tensor:
        return clean_words(text, self.config)

    def _encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        words = split_words(text)
        pieces = self._words_to_pieces.tokenize(words.flat_values)
        return words.with_flat_values(pieces).merge_dims(1, 2)

    def _decode(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        texts = tf.gather(self._texts, token_ids.flat_values)
        spaces = tf.where(self._spacing.needs_space(token_ids), " ", "")
        text = tf.strings.reduce_join(token_ids.with_flat_values(spaces + texts), axis=-1)
        # Stripping accents takes characters apart, Hangul syllables too; here they come together again.
        return unicode_form(text, "NFC") if self.config.case_fold else text


def _special_id(pieces: Sequence[str], name: str) -> int:
    candidates = [f"[{name.upper()}]", _BERT_NAMES.get(name)]
    for piece in candidates:
        if piece in pieces:
            return pieces.index(piece)
    wanted = " or ".join(piece for piece in candidates if piece)
    raise UserError(f"the WordPiece vocabulary of {len(pieces)} pieces has no {wanted}, the {name} token.")


def read_vocabulary(asset: bytes) -> list[str]:
    """The pieces of a `vocab.txt`, one a line.

    Raises:
        UserError: not UTF-8, or a piece stands there twice.
    """
    try:
        pieces = asset.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"a WordPiece vocabulary is UTF-8 text, one piece a line: {error}.") from error
    repeated = [piece for piece, count in collections.Counter(pieces).items() if count > 1]
    if repeated:
        raise UserError(f"a WordPiece vocabulary has each piece once; {repeated[0]!r} stands there twice.")
    return pieces
