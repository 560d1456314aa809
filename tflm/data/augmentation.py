"""Data augmentation of training texts: word swap, word deletion, synonyms (EDA; Wei and Zou, 2019).

A word is a run of letters and digits; in Chinese and other scripts without spaces, a character, or an entry of the list
of synonyms. What is drawn for a text is a function of the seed, the text and the number of the copy alone.
"""

import hashlib
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tflm.errors import UserError
from tflm.text.words import find_words

_RATES = ("word_swap", "word_deletion", "synonym_rate")


@dataclass(frozen=True)
class AugmentationConfig:
    """Copies of each training example with small random changes. For tasks whose labels or targets stay right."""

    copies: int = 4
    """Number of copies of each training example in the store; the first is unchanged. They take the place of as many
    epochs."""
    word_swap: float = 0.0
    """Probability of a word to change places with the next one."""
    word_deletion: float = 0.0
    """Probability of a word to be left out; one word always stays."""
    synonyms: str = ""
    """File of synonyms: on each line words that may stand for each other, with tabs between."""
    synonym_rate: float = 0.1
    """Probability of a word that has synonyms to be replaced by one of them."""
    seed: int = 0
    """Seed of the changes."""

    def __post_init__(self) -> None:
        if self.copies < 2:
            raise UserError(
                f"augment.copies is {self.copies}; it must be at least 2, of which the first is unchanged"
            )
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augment.{name} is {getattr(self, name)}; it must be from 0 to 1")

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return bool(self.word_swap or self.word_deletion or (self.synonyms and self.synonym_rate))


class AugmentedExamples(Iterable[dict[str, str]]):
    """Each example and its changed copies, one after another.

        {"text": "a very good film", "label": "1"}  ->  the same; {"text": "a good very film", "label": "1"}; ...

    Args:
        examples: dicts of strings.
        config: rates, number of copies, seed.
        keys: the parts of an example that are changed.
    Raises:
        UserError: the list of synonyms cannot be read.
    """

    def __init__(
        self, examples: Iterable[dict[str, str]], config: AugmentationConfig, keys: Collection[str]
    ) -> None:
        self._examples, self._config, self._keys = examples, config, keys
        self._synonyms = Synonyms.read(config.synonyms) if config.synonyms else Synonyms([])

    def __iter__(self) -> Iterator[dict[str, str]]:
        for example in self._examples:
            for copy in range(self._config.copies):
                yield {
                    key: augmented(text, self._config, self._synonyms, copy) if key in self._keys else text
                    for key, text in example.items()
                }


class Synonyms:
    """Words that may stand for each other.

    Args:
        groups: of words, which may be several words of a sentence or several Chinese characters.
    """

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        self._others: dict[str, list[str]] = {}
        self.longest = 0
        """The most words of an entry."""
        for group in groups:
            for word in group:
                others = self._others.setdefault(word.casefold(), [])
                others += [other for other in group if other != word and other not in others]
                self.longest = max(self.longest, len(find_words(word)))

    @classmethod
    def read(cls, path: str, name: str = "augment.synonyms") -> "Synonyms":
        """A file with the words of a group on a line, and tabs between.

        Args:
            path: the file.
            name: the setting or the flag that names it, for messages.
        Raises:
            UserError: it cannot be read, is not UTF-8, or has a line of one word.
        """
        try:
            with open(path, encoding="utf-8-sig") as file:
                lines = file.read().splitlines()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot read {name} {path!r}: {error.strerror}; give a file with words that may stand for "
                "each other on a line, with tabs between"
            ) from error
        groups = []
        for number, line in enumerate(lines, 1):
            group = [word.strip() for word in line.split("\t") if word.strip()]
            if len(group) == 1:
                raise UserError(
                    f"{path}:{number}: expected two words or more with tabs between, found {line!r}"
                )
            groups.append(group)
        return cls(groups)

    def of(self, word: str) -> list[str]:
        """Those of a word, in any case."""
        return self._others.get(word.casefold(), [])


class Word(NamedTuple):
    """A word of a text."""

    before: str
    """What is between the word before and this one."""
    text: str


def augmented(text: str, config: AugmentationConfig, synonyms: Synonyms, copy: int) -> str:
    """A text with some words changed; the text itself as copy 0.

    Args:
        text: the text.
        config: the rates and the seed.
        synonyms: those of `config.synonyms`.
        copy: number of the copy, such as the epoch.
    """
    if not copy:
        return text
    key = f"{config.seed} {copy} {text}".encode("utf-8", "surrogatepass")
    draw = random.Random(int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big"))
    words, rest = words_of(text, synonyms)
    words = [word._replace(text=_replaced(word.text, config, synonyms, draw)) for word in words]
    index = 0
    while index + 1 < len(words):
        if draw.random() < config.word_swap:
            first, second = words[index], words[index + 1]
            words[index : index + 2] = [first._replace(text=second.text), second._replace(text=first.text)]
            index += 1
        index += 1
    if words and config.word_deletion:
        kept = draw.randrange(len(words))
        stays = [draw.random() >= config.word_deletion or number == kept for number in range(len(words))]
        words, left = _without(words, stays)
        rest = left + rest
    return "".join(word.before + word.text for word in words) + rest


def words_of(text: str, synonyms: Synonyms) -> tuple[list[Word], str]:
    """The words, each with what is before it, and what is after the last one. The longest entry of the synonyms that
    begins at a word is one word."""
    spans = find_words(text)
    words, end, index = [], 0, 0
    while index < len(spans):
        last = index
        for candidate in range(min(index + synonyms.longest, len(spans)) - 1, index, -1):
            if synonyms.of(text[spans[index][0] : spans[candidate][1]]):
                last = candidate
                break
        words.append(Word(text[end : spans[index][0]], text[spans[index][0] : spans[last][1]]))
        end, index = spans[last][1], last + 1
    return words, text[end:]


def _replaced(word: str, config: AugmentationConfig, synonyms: Synonyms, draw: random.Random) -> str:
    others = synonyms.of(word)
    if not others or draw.random() >= config.synonym_rate:
        return word
    other = draw.choice(others)
    return other[0].upper() + other[1:] if word[0].isupper() else other


def _without(words: Sequence[Word], stays: Sequence[bool]) -> tuple[list[Word], str]:
    """The words that stay, and what is left behind the last one. The space before a word goes with it, so that no two
    spaces meet; punctuation stays."""
    found: list[Word] = []
    left, is_after_gap = "", False
    for word, is_kept in zip(words, stays):
        drops_space = is_after_gap and (left[-1:].isspace() or not (left or found))
        left += word.before.lstrip() if drops_space else word.before
        if is_kept:
            found.append(Word(left, word.text))
            left, is_after_gap = "", False
        else:
            left, is_after_gap = left if left.strip() else "", True
    return found, left.rstrip()
