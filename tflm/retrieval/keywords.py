"""Keyword extraction by embedding similarity of phrases and text (KeyBERT; Grootendorst, 2020)."""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.metrics.retrieval import unit_rows
from tflm.text.cjk import HAN, KANA, SOUTHEAST_ASIAN
from tflm.text.words import MARK, comparable

Keyword = tuple[str, float]
_UNSPACED = HAN + KANA + SOUTHEAST_ASIAN
_RUN = re.compile(f"((?:(?=\\w)[{_UNSPACED}][{MARK}]*)+)")
_CHARACTER = re.compile(f"[{_UNSPACED}][{MARK}]*")
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{MARK}])*(?:[-'’](?:[^\W_]|[{MARK}])+)*")
_BETWEEN_WORDS = re.compile(r"\s+")
_DIVERSITY = 0.5  # weight of the redundancy penalty of maximal marginal relevance, as in KeyBERT


def find_keywords(
    texts: Sequence[str], embed_fn: Callable[[list[str]], np.ndarray], count: int
) -> list[list[Keyword]]:
    """The keywords of each text and their cosine similarity to the text, in order of selection.

    Args:
        texts: N texts.
        embed_fn: maps M texts to float [M, D].
        count: int, maximum number of keywords per text.
    Raises:
        UserError: scikit-learn is not installed.
    """
    phrases = [candidates(text) for text in texts]
    vectors = unit_rows(embed_fn([*texts, *(phrase for some in phrases for phrase in some)]))
    found, begin = [], len(texts)
    for vector, some in zip(vectors, phrases):
        own = vectors[begin : begin + len(some)]
        chosen = choose(some, own, vector, count)
        found.append([(some[place], float(own[place] @ vector)) for place in chosen])
        begin += len(some)
    return found


def candidates(text: str) -> list[str]:
    """The distinct candidate phrases of a text, normalized to NFC.

    Candidates are one or two words separated by white space, without English stop words; and, in scripts without spaces
    such as Chinese, Japanese and Thai, two to four consecutive characters with their combining marks.

    >>> candidates("The black cat, 语言")
    ['black', 'black cat', 'cat', '语言']

    Raises:
        UserError: scikit-learn, the source of the stop words, is not installed.
    """
    found: dict[str, str] = {}
    for number, part in enumerate(_RUN.split(unicodedata.normalize("NFC", text))):
        for phrase in _character_phrases(part) if number % 2 else _word_phrases(part):
            found.setdefault(comparable(phrase), phrase)
    return list(found.values())


def choose(phrases: Sequence[str], vectors: np.ndarray, text_vector: np.ndarray, count: int) -> list[int]:
    """Selects phrases by maximal marginal relevance (Carbonell and Goldstein, 1998). Phrases that contain a selected
    phrase, or are contained in one, are excluded.

    Args:
        phrases: M phrases.
        vectors: float [M, D], unit vectors.
        text_vector: float [D], a unit vector.
        count: int, maximum number of phrases.
    Returns:
        Indices of at most `count` phrases, in order of selection.
    """
    relevance = vectors @ text_vector
    chosen: list[int] = []
    open_places = np.ones(len(phrases), bool)
    redundancy = np.full(len(phrases), -1.0)  # maximum similarity to the selected phrases
    while open_places.any() and len(chosen) < count:
        value = (1 - _DIVERSITY) * relevance - _DIVERSITY * redundancy
        best = int(np.argmax(np.where(open_places, value, -np.inf)))
        chosen.append(best)
        redundancy = np.maximum(redundancy, vectors @ vectors[best])
        name = comparable(phrases[best])
        open_places &= [name not in (other := comparable(phrase)) and other not in name for phrase in phrases]
    return chosen


def _character_phrases(run: str) -> list[str]:
    """The phrases starting at each character, short ones first."""
    characters = _CHARACTER.findall(run)
    return [
        "".join(characters[begin : begin + size])
        for begin in range(len(characters))
        for size in (2, 3, 4)
        if begin + size <= len(characters)
    ]


def _word_phrases(part: str) -> list[str]:
    stop_words = _stop_words()
    words = [word for word in _WORD.finditer(part) if comparable(word[0]) not in stop_words]
    phrases = []
    for word, following in zip(words, [*words[1:], None]):
        phrases.append(word[0])
        if following and _BETWEEN_WORDS.fullmatch(part, word.end(), following.start()):
            phrases.append(part[word.start() : word.end()] + " " + following[0])
    return phrases


def _stop_words() -> frozenset[str]:
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
    except ImportError as error:
        raise UserError(
            "keywords need the stop words of the package scikit-learn: pip install 'tflm[eval]'."
        ) from error
    return frozenset(ENGLISH_STOP_WORDS)
