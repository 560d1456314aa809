"""Cutting text into words as BERT does: at spaces, around punctuation, around each Han character."""

from collections.abc import Iterable

import tensorflow as tf
import tensorflow_text

from tflm.text.clean_text import clean_text, unicode_form
from tflm.text.tokenizer_config import TokenizerConfig

# As in BERT's own tokenization.py: ASCII symbols count as punctuation, and these blocks as Han.
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_HAN = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2CEAF}"
    r"\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
_LONE = f"{_PUNCTUATION}|{_HAN}"
_SPACE = r"[\s\p{Z}]+"  # RE2's \s is ASCII alone; \p{Z} has U+3000 and U+00A0
_INVISIBLE = r"[\x{0}-\x{8}\x{E}-\x{1F}\x{7F}-\x{9F}\p{Cf}]"


def clean_words(text: tf.Tensor, config: TokenizerConfig) -> tf.Tensor:
    """`clean_text`, then no control or format characters, and no accents if the config folds case.

    Args:
        text: string [B].
        config: of a wordpiece tokenizer.
    Returns:
        string [B].
    """
    text = clean_text(text, config.normalization_form, config.case_fold)
    if config.case_fold:
        text = tf.strings.regex_replace(unicode_form(text, "NFD"), r"\p{Mn}", "")
    return tf.strings.regex_replace(text, _INVISIBLE, "")


def split_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Words without the spaces.

    >>> split_words(["Hello,  world！ 我爱Python"])
    [["Hello", ",", "world", "！", "我", "爱", "Python"]]

    Args:
        text: string [B].
    Returns:
        RaggedTensor string [B, (W)].
    """
    return tensorflow_text.regex_split(text, f"{_SPACE}|{_LONE}", _LONE)


def lone_characters(characters: Iterable[str]) -> set[str]:
    """Those of the characters that are always a word of their own: punctuation and Han."""
    characters = list(characters)
    alone = tf.strings.regex_full_match(tf.constant(characters, tf.string), _LONE).numpy()
    return {character for character, is_alone in zip(characters, alone) if is_alone}
