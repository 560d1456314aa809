"""TokenizerConfig: kind, size and normalization of a tokenizer; and the registered kinds."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from tflm.config import option
from tflm.registry import Registry

TOKENIZERS: Registry[Any] = Registry("tokenizer", "register_tokenizer", "tflm.text")
"""A kind to the class, a `Tokenizer`, imported on demand: bytes and characters work without tensorflow-text."""
register_tokenizer = TOKENIZERS.register

ALGORITHMS = ("unigram", "bpe")
NORMALIZATIONS = ("auto", "nfc", "nfkc", "none")
CORE_SPECIAL_TOKENS = ("pad", "start", "end", "unk")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Settings of a tokenizer, for `train_tokenizer`; saved with the tokenizer.

    >>> TokenizerConfig(kind="byte").normalization_form is None
    True
    """

    kind: str = "sentencepiece"
    """"sentencepiece" for every language; "byte_pair" for byte-level BPE as in GPT-2, Llama 3 and Qwen; "wordpiece" for
    BERT vocabularies; "byte" and "character" need core TensorFlow ops only."""

    algorithm: str = "unigram"
    """Training algorithm of SentencePiece: "unigram" or "bpe". Ignored by other kinds."""

    vocab_size: int = 8192
    """Number of ids, including special tokens. Exact for sentencepiece, a maximum for byte_pair, wordpiece and
    character, ignored by byte, which has 256 ids and the special tokens."""

    soft_vocab_limit: bool = False
    """sentencepiece with unigram: treat `vocab_size` as a maximum, so that a small text is not an error."""

    normalization: str = "auto"
    """Unicode normalization: "nfc" keeps full-width punctuation, "nfkc" makes it half-width, "none" keeps every code
    point. "auto" is what the tokenizer declares: nfc for sentencepiece, byte_pair and wordpiece, and none for byte and
    character, which must load without tensorflow-text."""

    case_fold: bool = False
    """Convert to lower case. For wordpiece also strip accents, as in the uncased BERT models."""

    exact_bert: bool = option(False)
    """wordpiece: normalize and split words exactly as BERT's own code and Hugging Face do, for published
    vocabularies."""

    strip_accents: bool | None = option(None)
    """wordpiece: strip accents; null for as `case_fold`."""

    split_han: bool = option(True)
    """wordpiece with `exact_bert`: each Han character is a word."""

    byte_fallback: bool = True
    """Encode out-of-vocabulary characters as UTF-8 bytes (sentencepiece, character). If False, they become unk, which
    decodes to U+FFFD."""

    special_tokens: tuple[str, ...] = ("separator",)
    """Names of special tokens in addition to pad, start, end and unk, with ids from 4 in this order."""

    def __post_init__(self) -> None:
        if self.kind not in TOKENIZERS:
            _check_choice("kind", self.kind, TOKENIZERS.names())
        _check_choice("algorithm", self.algorithm, ALGORITHMS)
        _check_choice("normalization", self.normalization, NORMALIZATIONS)
        for name in self.special_tokens:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in CORE_SPECIAL_TOKENS:
                raise ValueError(
                    f"special_tokens are lower-case names such as 'separator', except "
                    f"{', '.join(CORE_SPECIAL_TOKENS)}; got {name!r}."
                )
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError(f"special_tokens are all different; got {self.special_tokens!r}.")
        if self.vocab_size <= self.num_special_tokens and TOKENIZERS.get(self.kind).reads_vocab_size:
            raise ValueError(
                f"vocab_size is more than the number of special tokens, {self.num_special_tokens}; "
                f"got {self.vocab_size}."
            )

    @property
    def num_special_tokens(self) -> int:
        """Number of special tokens: pad, start, end, unk and the named ones."""
        return len(CORE_SPECIAL_TOKENS) + len(self.special_tokens)

    @property
    def normalization_form(self) -> str | None:
        """The Unicode form with "auto" resolved: "NFC", "NFKC" or None."""
        form = self.normalization
        if form == "auto":
            form = TOKENIZERS.get(self.kind).default_normalization
        return None if form == "none" else form.upper()


def _check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}; got {value!r}.")
