"""Masking: which tokens a model has to find, what it sees in their place, and which tokens make up a word.

Devlin et al., 2019, section 3.1; whole-word masking for Chinese: Cui et al., 2021.
"""

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text

from tflm.errors import UserError
from tflm.files.encodings import decode_text
from tflm.files.formats import open_unpacked
from tflm.text import Tokenizer
from tflm.text.clean_text import clean_text
from tflm.text.token_texts import token_texts

_MASKED, _RANDOM = 0.8, 0.1  # the rest stays as it is


class Masked(NamedTuple):
    """What `mask_tokens` returns."""

    token_ids: tf.Tensor
    """int32 [B, T]: what the model sees."""
    targets: tf.Tensor
    """int32 [B, T]: the tokens as they were."""
    loss_weights: tf.Tensor
    """float32 [B, T]: 1 where a token is to be found, else 0."""


def mask_tokens(
    token_ids: tf.Tensor,
    seed: tf.Tensor,
    *,
    maskable: tf.Tensor,
    unit_ids: tf.Tensor,
    mask_fraction: float,
    mask_id: int,
    ordinary_ids: tf.Tensor,
) -> Masked:
    """Chooses units at random; of their tokens 80% become the mask, 10% random ones, and 10% stay.

    Each unit is chosen with probability `mask_fraction`, however long it is, and with it all its maskable tokens;
    in a row where chance chose none, one is. So of many tokens that fraction is chosen, of a short row more.

        token_ids     1 8 9 7 2    unit_ids  -1 0 0 1 -1    (special tokens 1 and 2 are not maskable)
        ->            1 4 9 7 2    loss_weights  0 1 1 0 0   (unit 0 was chosen: 8 became the mask 4, 9 stayed)

    Args:
        token_ids: int32 [B, T].
        seed: int64 [2].
        maskable: bool [B, T].
        unit_ids: int32 [B, T]; neighbours with the same number are one unit.
        mask_fraction: float, in (0, 1).
        mask_id: int.
        ordinary_ids: int32 [N], the ids that random tokens are drawn from.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    shape = tf.shape(token_ids)
    chosen = _choose_units(unit_ids, maskable, mask_fraction, seeds[0])
    fate = tf.random.stateless_uniform(shape, seeds[1])
    places = tf.random.stateless_uniform(shape, seeds[2], maxval=tf.size(ordinary_ids), dtype=tf.int32)
    seen = tf.where(fate < _MASKED, mask_id, tf.gather(ordinary_ids, places))
    seen = tf.where(fate < _MASKED + _RANDOM, seen, token_ids)
    return Masked(tf.where(chosen, seen, token_ids), token_ids, tf.cast(chosen, tf.float32))


def _choose_units(unit_ids: tf.Tensor, maskable: tf.Tensor, fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """bool [B, T], the same for all maskable tokens of a unit."""
    begins = tf.pad(unit_ids[:, 1:] != unit_ids[:, :-1], [[0, 0], [1, 0]])
    unit = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
    draws = tf.gather(tf.random.stateless_uniform(tf.shape(unit_ids), seed), unit, batch_dims=1)
    draws = tf.where(maskable, draws, 2.0)
    least = tf.reduce_min(draws, axis=1, keepdims=True)
    return maskable & ((draws < fraction) | tf.equal(draws, least))


# Scripts that are written without spaces between words; U+30FC lengthens a vowel in katakana.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\x{30FC}"
_SPACE = r"[\s\p{Z}]+"
_SYMBOL = r"[^\p{L}\p{M}\p{N}\s\p{Z}]"
_UNKNOWN = "[UNK]"


class WholeWords:
    """Numbers the words of a text, so that the tokens of one have the same number (whole word masking).

    A word is a run of letters and digits; a symbol; or, in scripts without spaces, the longest word of the list from
    where the last one ended (forward maximum matching), or one character. Spaces belong to the word after them. The
    tokens' own bytes say where each begins. A token begins a word if a word begins with its first byte; so the
    words that one token straddles become one, together with all their tokens.

        pieces " lo" "ve" "."  ->  0 0 1        with 自然 and 语言 in the list, pieces 自 然语 言  ->  0 0 0

    Args:
        tokenizer: of any kind.
        word_list: a text file, one word a line, UTF-8 or with a byte-order mark, packed with gzip or not; what stands
            after a space in a line is not read. Words of scripts with spaces are passed over. "" for none: then every
            Chinese character is a word.
    Raises:
        UserError: the file cannot be read or has no word to use.
    """

    def __init__(self, tokenizer: Tokenizer, word_list: str = "") -> None:
        self._tokenizer, self._longest_words = tokenizer, None
        kept = f"[{_UNSPACED}]|{_SYMBOL}"
        if word_list:
            words = _usable(_read(word_list), tokenizer, word_list)
            alphabet = sorted(set("".join(words)))
            kept = f"[{''.join(alphabet)}]+|{kept}"
            # Every character of a run has a piece, so that no part of it is unknown; all other text is.
            self._longest_words = tensorflow_text.FastWordpieceTokenizer(
                [_UNKNOWN, *sorted({*words, *alphabet})],
                suffix_indicator="",
                max_bytes_per_word=2**30,
                token_out_type=tf.int32,
                unknown_token=_UNKNOWN,
                no_pretokenization=True,
            )
        self._cut, self._kept = f"{_SPACE}|{kept}", kept

    def __call__(self, token_ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Word numbers int32 [B, (T)], from 0 in each row, of token ids int32 [B, (T)] without special tokens."""
        texts = token_texts(self._tokenizer, token_ids)
        lengths = tf.strings.length(texts.flat_values)  # in bytes
        ends = tf.concat([[0], tf.cumsum(lengths)], axis=0)
        row_starts = tf.gather(ends, texts.row_splits)[:-1]
        places = self._word_starts(tf.strings.reduce_join(texts, axis=-1), row_starts)
        begins = tf.scatter_nd(places[:, None], tf.ones_like(places), [ends[-1] + 1])
        numbers = tf.cumsum(tf.cast(tf.gather(begins, ends[:-1]) > 0, tf.int32))
        # Of a row's numbers the least is 0, also where it begins with the rest of a word.
        before = tf.gather(tf.concat([numbers, [0]], axis=0), token_ids.row_starts())
        return token_ids.with_flat_values(numbers - tf.gather(before, token_ids.value_rowids()))

    def _word_starts(self, text: tf.Tensor, row_starts: tf.Tensor) -> tf.Tensor:
        """The bytes at which words of string [B] begin, int32 [W], counted through all rows."""
        runs, begins, ends = tensorflow_text.regex_split_with_offsets(text, self._cut, self._kept)
        first = tf.gather(row_starts, runs.value_rowids())
        begin, end = (tf.cast(part.flat_values, tf.int32) + first for part in (begins, ends))
        # Spaces belong to the word after them: it begins where the last one ended.
        last_end = tf.concat([tf.zeros([1], tf.int32), end[:-1]], axis=0)[: tf.size(end)]
        whole = tf.maximum(last_end, first)
        if self._longest_words is None:
            return whole
        _, inner, _ = self._longest_words.tokenize_with_offsets(runs.flat_values)
        row = inner.value_rowids()
        inner = tf.cast(inner.flat_values, tf.int32)
        return tf.where(inner > 0, tf.gather(begin, row) + inner, tf.gather(whole, row))


def _read(path: str) -> list[str]:
    try:
        with open_unpacked(path) as file:
            text = decode_text(file.read(), f"task.word_list={path!r}")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot read task.word_list={path!r}: {reason}. It is a text file, one word a line."
        ) from error
    return [line.split()[0] for line in re.split("[\r\n]+", text) if line.strip()]


def _usable(words: Iterable[str], tokenizer: Tokenizer, path: str) -> list[str]:
    """The words as in clean text, without those of scripts that have spaces."""
    config = tokenizer.config
    cleaned = clean_text(tf.constant(list(words), tf.string), config.normalization_form, config.case_fold)
    usable = tf.boolean_mask(cleaned, tf.strings.regex_full_match(cleaned, f"[{_UNSPACED}]+"))
    if not tf.size(usable):
        raise UserError(
            f"task.word_list={path!r} has no word in a script without spaces, such as Chinese. Give another list, "
            "or none: words between spaces need no list."
        )
    return [word.decode() for word in usable.numpy()]
