"""What a model answers from: passages of documents near a question, the prompt with them, and what an answer cites.

Retrieval-augmented generation (Lewis et al., 2020) with in-context passages (Ram et al., 2023). Whether anything near a
question was found, and which lines an answer cites, is decided by cosines and shared words, not by the model.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UsageError
from tflm.retrieval.bm25 import words_of
from tflm.retrieval.index import PassageIndex
from tflm.retrieval.passages import Passage, line_of
from tflm.text.cjk import CHARACTER
from tflm.text.sentences import END as END_OF_SENTENCE

DEFAULT_PASSAGES = 5
_NUM_CANDIDATES = 100
DEFAULT_NEARNESS = 0.3
_INSTRUCTION = {
    "en": "Answer the question from the passages below, in one or two sentences. If they do not contain the answer, "
    "say that the documents do not say.",
    "zh": "请只根据下面的段落，用一两句话回答问题。如果段落中没有答案，请说文档中没有说明。",
}
_QUESTION = {"en": "Question", "zh": "问题"}
NOT_FOUND = {"en": "The documents do not say.", "zh": "文档中没有说明。"}
"""The answer where no passage is near enough, in the language of the question."""
_HAS_CHARACTER = re.compile(f"[{CHARACTER}]")
_QUESTION_WORDS = frozenset(
    (
        "does",
        "did",
        "什么",
        "怎么",
        "怎样",
        "如何",
        "多少",
        "哪里",
        "哪个",
        "哪些",
        "几个",
        "是否",
        "为何",
        "可以",
        "请问",
    )
)
_QUESTION_SHARE = 0.5
"""Weight of a word of the question in a cited line, next to one of the answer."""


class Nearness(NamedTuple):
    """How near a passage is to a question."""

    cosine: float
    coverage: float
    """Share of the words of the question that are in the passage, by inverse document frequency; from 0 to 1."""

    @property
    def value(self) -> float:
        """Their mean, by which a question is refused."""
        return (max(self.cosine, 0.0) + self.coverage) / 2


class Found(NamedTuple):
    """A passage for a question."""

    passage: Passage
    nearness: Nearness


class Citation(NamedTuple):
    """A line that an answer rests on."""

    file: str
    line: int
    """From 1."""
    text: str
    """The sentence or line."""
    support: float
    """Share of the words of the answer that are in `text`'s passage, by inverse document frequency; from 0 to 1."""


class Grounding:
    """Finds passages for questions and citations for answers."""

    def __init__(
        self,
        index: PassageIndex,
        num_passages: int = DEFAULT_PASSAGES,
        min_nearness: float = DEFAULT_NEARNESS,
        name_fn: Callable[[str], str] = str,
    ) -> None:
        """
        Args:
            index: of the documents, up to date.
            num_passages: int, passages for a question at most.
            min_nearness: float from 0 to 1; a question is refused where no passage is as near, see `Nearness`.
            name_fn: the name to show of a file, from its absolute path.
        Raises:
            UsageError: a number out of range.
        """
        if num_passages < 1 or not 0 <= min_nearness <= 1:
            raise UsageError(
                f"num_passages={num_passages} and min_nearness={min_nearness}: expected at least 1, and from 0 to 1."
            )
        self._index, self._num_passages, self._min_nearness = index, num_passages, min_nearness
        self._name_fn = name_fn

    def find(self, question: str) -> list[Found]:
        """The passages for a question, the nearest first; none where none is near enough.

        Of the 100 best by `PassageIndex.closest`, which scales BM25 by the best passage of the question.
        """
        words = content_words(question)
        weights = self._index.words.rarity_of(words) if words else np.zeros([0], np.float32)
        found = []
        for match in self._index.matches(question, max(_NUM_CANDIDATES, self._num_passages)):
            passage = dataclasses.replace(match.passage, file=self._name_fn(match.passage.file))
            found.append(
                Found(passage, Nearness(match.cosine, share(words, weights, words_of(passage.text))))
            )
        found.sort(key=lambda each: -each.nearness.value)
        return found[: self._num_passages] if found and found[0].nearness.value >= self._min_nearness else []

    def knows(self, text: str) -> bool:
        """Whether all words of a text are in the documents, as of a question about what was said before."""
        words = sorted(set(words_of(text)))
        return bool(words) and bool(np.all(self._index.words.rarity_of(words) < self._index.words.unseen))

    def cite(self, question: str, answer: str, passages: Sequence[Passage], most: int = 2) -> list[Citation]:
        """The lines of the passages that share most with an answer.

        Args:
            question: str; its words count half.
            answer: str.
            passages: of which the answer was made.
            most: int, citations at most, one of each passage.
        Returns:
            The best first; the second only where it has words of the answer that the first has not. Of an answer that
            shares no word with the passages, such as that they do not say, the line nearest to the question.
        """
        of_answer = content_words(answer)
        weight = dict.fromkeys(content_words(question), _QUESTION_SHARE) | dict.fromkeys(of_answer, 1.0)
        rarity = dict(zip(weight, self._index.words.rarity_of(list(weight)), strict=True)) if weight else {}
        worth = {word: weight[word] * float(rarity[word]) for word in weight}
        lines = [
            _Line(passage, start, text, set(words_of(text)))
            for passage in passages
            for start, text in _sentences(passage.text)
        ]
        cited: list[Citation] = []
        known: set[str] = set()
        while lines and len(cited) < most:
            best = max(lines, key=lambda line: sum(worth.get(word, 0.0) for word in line.words - known))
            new = best.words - known
            inside = set(words_of(best.passage.text))
            support = share(of_answer, np.array([rarity[word] for word in of_answer]), inside)
            if not new & set(of_answer if cited else weight):
                break
            place = line_of(best.passage, best.start)
            cited.append(Citation(best.passage.file, place, " ".join(best.text.split()), support))
            known |= inside
            lines = [line for line in lines if line.passage is not best.passage]
        return cited


class _Line(NamedTuple):
    passage: Passage
    start: int
    text: str
    words: set[str]


def content_words(text: str) -> list[str]:
    """The distinct words of a text in order, without stop words and question words; all where nothing else is there.

    >>> content_words("Where does Berlin lie?"), content_words("怎么退货？")
    (['berlin', 'lie'], ['么退', '退货'])
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = sorted(set(words_of(text)))
    return [word for word in words if word not in ENGLISH_STOP_WORDS | _QUESTION_WORDS] or words


def share(words: Sequence[str], weights: np.ndarray, others: Iterable[str]) -> float:
    """The share of the weight of `words` that is also among `others`; 0.0 without words.

    >>> share(["a", "b"], np.array([1.0, 3.0]), ["b", "c"])
    0.75
    """
    inside = set(others)
    total = float(np.sum(weights))
    own = sum(float(weight) for word, weight in zip(words, weights, strict=True) if word in inside)
    return own / total if total > 0 else 0.0


def prompt_of(
    question: str, passages: Sequence[Passage], count_fn: Callable[[str], int], budget: int
) -> tuple[str, list[Passage]]:
    """The message that asks a question with its passages.

    Args:
        question: str.
        passages: the best first.
        count_fn: number of tokens of a text.
        budget: int, tokens of the message at most; the best passage is there in any case.
    Returns:
        The message, and the passages in it: as many of the first ones as the budget holds.
    """
    language = language_of(question)
    kept: list[Passage] = []
    message = ""
    for passage in passages:
        longer = _message(question, [*kept, passage], language)
        if kept and count_fn(longer) > budget:
            break
        kept.append(passage)
        message = longer
    return message, kept


def language_of(text: str) -> str:
    """ "zh" for a text with Chinese characters, else "en".

    >>> language_of("怎么导出？"), language_of("How?")
    ('zh', 'en')
    """
    return "zh" if _HAS_CHARACTER.search(text) else "en"


def _message(question: str, passages: Sequence[Passage], language: str) -> str:
    parts = [f"[{number}] {passage.text.strip()}" for number, passage in enumerate(passages, start=1)]
    return "\n\n".join([_INSTRUCTION[language], *parts, f"{_QUESTION[language]}: {question}"])


def _sentences(text: str) -> list[tuple[int, str]]:
    """Where the sentences and lines of a passage begin, and their texts."""
    found, begin = [], 0
    for end in [*(match.end() for match in END_OF_SENTENCE.finditer(text)), len(text)]:
        if piece := text[begin:end].strip():
            found.append((text.index(piece, begin), piece))
        begin = end
    return found
