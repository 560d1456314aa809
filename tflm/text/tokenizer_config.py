"""What a tokenizer is: its kind, its size, what it does to text before it cuts it."""

import dataclasses
import re

KINDS = ("sentencepiece", "wordpiece", "byte", "character")
ALGORITHMS = ("unigram", "bpe")
NORMALIZATIONS = ("auto", "nfc", "nfkc", "none")
CORE_SPECIAL_TOKENS = ("pad", "start", "end", "unk")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Settings of a tokenizer; `train_tokenizer` needs these and text, `load_tokenizer` reads them back.

    >>> TokenizerConfig(kind="byte").normalization_form is None
    True
    """

    kind: str = "sentencepiece"
    """"sentencepiece" for every language; "wordpiece" for BERT vocabularies; "byte" and "character" need
    TensorFlow's core ops alone."""

    algorithm: str = "unigram"
    """How SentencePiece learns its pieces: "unigram" or "bpe". Other kinds do not read it."""

    vocab_size: int = 8192
    """Number of ids, special ones included. Exact for sentencepiece, an upper limit for wordpiece and
    character. A byte tokenizer always has 256 and its special tokens, and does not read it."""

    soft_vocab_limit: bool = False
    """sentencepiece, unigram: a text that is too small for `vocab_size` pieces gives fewer, and is no error."""

    normalization: str = "auto"
    """Unicode normalization: "nfc" keeps full-width punctuation, "nfkc" makes it half-width, "none" keeps
    every code point. "auto" is nfc for sentencepiece and wordpiece, and none for byte and character, because
    NFC takes an op of tensorflow-text and those two must load without it."""

    case_fold: bool = False
    """Lower-case the text. For wordpiece also strip accents, as the uncased BERT models do."""

    byte_fallback: bool = True
    """A character outside the vocabulary becomes its UTF-8 bytes (sentencepiece, character). If False it
    becomes U+FFFD, the replacement character."""

    special_tokens: tuple[str, ...] = ("separator",)
    """Names of ids beside pad, start, end and unk. They get ids from 4 on, in this order."""

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("algorithm", self.algorithm, ALGORITHMS)
        _check_choice("normalization", self.normalization, NORMALIZATIONS)
        for name in self.special_tokens:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in CORE_SPECIAL_TOKENS:
                raise ValueError(
                    f"special_tokens are lower-case names such as 'separator', not one of "
                    f"{', '.join(CORE_SPECIAL_TOKENS)}; got {name!r}."
                )
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError(f"special_tokens are all different; got {self.special_tokens!r}.")
        if self.kind != "byte" and self.vocab_size <= self.num_special_tokens:
            raise ValueError(
                f"vocab_size is more than the number of special tokens, {self.num_special_tokens}; "
                f"got {self.vocab_size}."
            )

    @property
    def num_special_tokens(self) -> int:
        """pad, start, end, unk and the named ones."""
        return len(CORE_SPECIAL_TOKENS) + len(self.special_tokens)

    @property
    def normalization_form(self) -> str | None:
        """The Unicode form with "auto" resolved: "NFC", "NFKC" or None."""
        form = self.normalization
        if form == "auto":
            form = "none" if self.kind in ("byte", "character") else "nfc"
        return None if form == "none" else form.upper()


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{field} is one of {', '.join(choices)}; got {value!r}.")
