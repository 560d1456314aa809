"""Keywords of a text: its phrases that are most similar to the whole of it (KeyBERT; Grootendorst, 2020)."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.retrieval import unit_rows

Keyword = tuple[str, float]
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_RUN = re.compile(f"([{_HAN}]+)")
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_BETWEEN_WORDS = re.compile(r"\s+")
_DIVERSITY = 0.5  # how much a phrase loses by its likeness to those before it; as KeyBERT has it


def find_keywords(
    texts: Sequence[str], embed_fn: Callable[[list[str]], np.ndarray], count: int
) -> list[list[Keyword]]:
    """The keywords of each text with their cosines to it, in the order in which they were chosen.

    Args:
        texts: N of them.
        embed_fn: texts to float [M, D].
        count: how many for each; fewer where a text has no more phrases.
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
    """The phrases of a text that could be its keywords, each once.

    One word, or two with nothing but space between, and no English stop word among them; and two to four characters
    in a row of Han characters, between which no one wrote where a word ends.

    >>> candidates("The black cat, 语言")
    ['black', 'black cat', 'cat', '语言']

    Raises:
        UserError: scikit-learn, which has the stop words, is not installed.
    """
    found: dict[str, str] = {}
    for number, part in enumerate(_RUN.split(text)):
        for phrase in _character_phrases(part) if number % 2 else _word_phrases(part):
            found.setdefault(phrase.casefold(), phrase)
    return list(found.values())


def choose(phrases: Sequence[str], vectors: np.ndarray, text_vector: np.ndarray, count: int) -> list[int]:
    """Phrases that are similar to the text and not to each other: maximal marginal relevance (Carbonell and
    Goldstein, 1998). One that holds another, or is in another, is not chosen beside it.

    Args:
        phrases: M of them.
        vectors: float [M, D], of length 1.
        text_vector: float [D], of length 1.
        count: how many.
    Returns:
        Their places, at most `count`.
    """
    relevance = vectors @ text_vector
    chosen: list[int] = []
    open_places = np.ones(len(phrases), bool)
    likeness = np.full(len(phrases), -1.0)  # to the most similar of the chosen
    while open_places.any() and len(chosen) < count:
        value = (1 - _DIVERSITY) * relevance - _DIVERSITY * likeness
        best = int(np.argmax(np.where(open_places, value, -np.inf)))
        chosen.append(best)
        likeness = np.maximum(likeness, vectors @ vectors[best])
        name = phrases[best].casefold()
        open_places &= [name not in (other := phrase.casefold()) and other not in name for phrase in phrases]
    return chosen


def _character_phrases(run: str) -> list[str]:
    """Of each place the phrases that begin there, short ones first."""
    return [
        run[begin : begin + size]
        for begin in range(len(run))
        for size in (2, 3, 4)
        if begin + size <= len(run)
    ]


def _word_phrases(part: str) -> list[str]:
    stop_words = _stop_words()
    words = [word for word in _WORD.finditer(part) if word[0].casefold() not in stop_words]
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
