"""Pre-tokenization of BERT: split at spaces, around punctuation and around each Han character.

There are two sets of rules. Those of this project keep text in NFC and know the classes of the server's RE2. With
`exact_bert` they are those of BERT's own code as Hugging Face runs it (`BertNormalizer`, `BertPreTokenizer`), with
every class written out, so that published models get the ids that they were trained with.
"""

import dataclasses
import functools
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text

from tflm.text.cjk import BERT_HAN, re2_class
from tflm.text.clean_text import clean_text, unicode_form
from tflm.text.tokenizer_config import TokenizerConfig
from tflm.text.unicode_classes import class_body

# As in BERT's tokenization.py, ASCII symbols count as punctuation.
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_HAN = f"[{re2_class(BERT_HAN)}]"
_SPACE = r"[\s\p{Z}]+"  # \s of RE2 is ASCII only; \p{Z} includes U+3000 and U+00A0
_INVISIBLE = r"[\x{0}-\x{8}\x{E}-\x{1F}\x{7F}-\x{9F}\p{Cf}]"


@dataclasses.dataclass(frozen=True)
class WordRules:
    """Patterns of RE2."""

    invisible: str
    """Characters that are removed."""
    accent: str
    """Characters of NFD that are removed with accents."""
    lone: str
    """Characters that are words of their own."""
    space: str
    """What is between words."""


@functools.cache
def word_rules(exact: bool, split_han: bool) -> WordRules:
    """The patterns for a config's `exact_bert` and `split_han`."""
    if not exact:
        return WordRules(_INVISIBLE, r"\p{Mn}", f"{_PUNCTUATION}|{_HAN}", _SPACE)
    lone = class_body("bert_punctuation", "bert_han") if split_han else class_body("bert_punctuation")
    return WordRules(
        f"[{class_body('bert_removed')}]",
        f"[{class_body('bert_accent')}]",
        f"[{lone}]",
        f"[{class_body('bert_gap')}]+",
    )


def rules_of(config: TokenizerConfig) -> WordRules:
    """The rules of a wordpiece tokenizer's config."""
    return word_rules(config.exact_bert, config.split_han)


def strips_accents(config: TokenizerConfig) -> bool:
    """Whether accents are removed: with `case_fold`, unless `strip_accents` says otherwise."""
    return config.case_fold if config.strip_accents is None else config.strip_accents


def clean_words(text: tf.Tensor, config: TokenizerConfig) -> tf.Tensor:
    """`clean_text`, then removes control and format characters, and with `case_fold` accents.

    Args:
        text: string [B].
        config: config of a wordpiece tokenizer.
    Returns:
        string [B].
    """
    rules = rules_of(config)
    if config.exact_bert:
        return _clean_as_bert(text, config, rules)
    text = clean_text(text, config.normalization_form, config.case_fold)
    if strips_accents(config):
        text = tf.strings.regex_replace(unicode_form(text, "NFD"), rules.accent, "")
    return tf.strings.regex_replace(text, rules.invisible, "")


def _clean_as_bert(text: tf.Tensor, config: TokenizerConfig, rules: WordRules) -> tf.Tensor:
    """In the order of `BertNormalizer`."""
    text = clean_text(text, config.normalization_form, case_fold=False)
    text = tf.strings.regex_replace(text, rules.invisible, "")
    if strips_accents(config):
        text = tf.strings.regex_replace(unicode_form(text, "NFD"), rules.accent, "")
    if config.case_fold:
        # One character at a time: no sigma is the last of a word.
        text = tf.strings.lower(tf.strings.regex_replace(text, "Σ", "σ"), encoding="utf-8")
    return text


def split_bert_words(text: tf.Tensor, rules: WordRules) -> tf.RaggedTensor:
    """Splits text into words, without spaces.

    >>> split_bert_words(["Hello,  world！ 我爱Python"], word_rules(exact=False, split_han=True))
    [["Hello", ",", "world", "！", "我", "爱", "Python"]]

    Args:
        text: string [B].
        rules: of `rules_of`.
    Returns:
        RaggedTensor string [B, (W)].
    """
    return tensorflow_text.regex_split(text, f"{rules.space}|{rules.lone}", rules.lone)


def split_words_with_offsets(text: tf.Tensor, rules: WordRules) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """`split_bert_words`, and the byte of its text where each begins, RaggedTensor int64 [B, (W)]."""
    words, begins, _ = tensorflow_text.regex_split_with_offsets(
        text, f"{rules.space}|{rules.lone}", rules.lone
    )
    return words, begins


def lone_characters(characters: Iterable[str], rules: WordRules) -> set[str]:
    """The characters that are always separate words: punctuation and Han."""
    characters = list(characters)
    alone = tf.strings.regex_full_match(tf.constant(characters, tf.string), rules.lone).numpy()
    return {character for character, is_alone in zip(characters, alone) if is_alone}
