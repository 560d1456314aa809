"""Measures of answers that are spans of a text: exact match and F1, in English as SQuAD and in Chinese as CMRC 2018."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.answers import AnswerFn
from tflm.evaluation.intervals import bootstrap
from tflm.evaluation.scripts import CHARACTER
from tflm.tasks.answer_spans import read_answers

_TOKEN = re.compile(rf"[{CHARACTER}]|[^\s{CHARACTER}]+")


def answer_scores(references: Sequence[str], answer: str, language: str) -> tuple[float, float]:
    """Exact match and F1 of one answer, from 0 to 1, the best over the references.

    "english" (SQuAD; Rajpurkar et al., 2016, section 6.1): lower case, without punctuation and the articles a, an and
    the; F1 over words, however they are ordered.

    "chinese" (CMRC 2018; Cui et al., 2019, and its program): lower case, without punctuation. Each Chinese, Japanese or
    Korean character is a token and each word of other scripts one (mixed segmentation), and what two answers share is
    the longest run of tokens that both have. Here punctuation is Unicode's categories P and S, and words end at spaces;
    that program has a list of marks and NLTK's tokenizer.

    Where there is no answer, or none of its references leaves a token, both are 1 for an answer that is empty, too, and
    0 for any other (SQuAD 2.0; Rajpurkar et al., 2018).

    >>> answer_scores(["the quick fox"], "A fox", "english")
    (0.0, 0.666...)
    >>> answer_scores(["北京大学"], "在北京", "chinese")
    (0.0, 0.571...)

    Raises:
        UserError: there is no such language.
    """
    if language not in ("english", "chinese"):
        raise UserError(
            f"answers are measured in 'english' or in 'chinese' (by character); got {language!r}."
        )
    tokens_fn = english_tokens if language == "english" else chinese_tokens
    shared_fn = _shared_words if language == "english" else _shared_run
    found = tokens_fn(answer)
    wanted = [tokens for text in references if (tokens := tokens_fn(text))] or [[]]
    exact = max(float(tokens == found) for tokens in wanted)
    return exact, max(_f1(shared_fn(tokens, found), len(tokens), len(found)) for tokens in wanted)


def english_tokens(text: str) -> list[str]:
    """
    >>> english_tokens("The U.S. army, an ARMY")
    ['us', 'army', 'army']
    """
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def chinese_tokens(text: str) -> list[str]:
    """
    >>> chinese_tokens("《北京》 iPhone 4S！")
    ['北', '京', 'iphone', '4s']
    """
    plain = "".join(character for character in text.lower() if unicodedata.category(character)[0] not in "PS")
    return _TOKEN.findall(plain)


def report_answers(answer_fn: AnswerFn, examples: Sequence[dict[str, str]], language: str) -> dict[str, Any]:
    """What a model answers, measured.

    Args:
        answer_fn: answers `answer`, `score`, `margin` [N] and `answers` [N, K] to `question` and `context`.
        examples: {"question", "context", "answers"}.
        language: "english" or "chinese", see `answer_scores`.
    Returns:
        `this model`: `exact_match` and `f1`, from 0 to 100; where some questions have no answer and others have, also
        `answerable_exact_match`, `answerable_f1` and `unanswerable_accuracy`; each with `NAME_interval`, the ends of
        its 95% interval. `best threshold`: the `threshold` with the best F1 and what both measures are with it;
        it is chosen on these very examples, so to measure it others are needed. `texts`: each example with its
        `answer`, `score`, `margin`, `exact_match` and `f1`, from 0 to 1.
    Raises:
        UserError: there are no examples, or no such language.
    """
    if not examples:
        raise UserError("there are no questions to measure: give one example at least.")
    outputs = answer_fn({name: [example[name] for example in examples] for name in ("question", "context")})
    answers, spans = (
        [_text(value) for value in values] for values in (outputs["answer"], outputs["answers"][:, 0])
    )
    wanted = [[text for _, text in read_answers(example)] for example in examples]
    exact, f1 = _both(wanted, answers, language)
    texts = [
        {**example, "answer": answer, "score": score, "margin": margin, "exact_match": right, "f1": overlap}
        for example, answer, score, margin, right, overlap in zip(
            examples,
            answers,
            outputs["score"].tolist(),
            outputs["margin"].tolist(),
            exact.tolist(),
            f1.tolist(),
        )
    ]
    measured = {"exact_match": exact, "f1": f1}
    answerable = np.array([bool(each) for each in wanted])
    if answerable.any() and not answerable.all():
        measured["answerable_exact_match"] = exact[answerable]
        measured["answerable_f1"] = f1[answerable]
        measured["unanswerable_accuracy"] = exact[~answerable]
    measures: dict[str, Any] = {}
    for name, values in measured.items():
        interval = bootstrap(100 * values)
        measures |= {name: interval.mean, f"{name}_interval": [interval.low, interval.high]}
    always = _both(wanted, spans, language)
    never = _both(wanted, [""] * len(wanted), language)
    best = best_threshold(outputs["margin"], always, never)
    return {"this model": measures, "best threshold": best, "texts": texts}


def best_threshold(
    margins: np.ndarray,
    always: tuple[np.ndarray, np.ndarray],
    never: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """The threshold at which F1 is best, as SQuAD 2.0's program looks for it; of several the lowest: it answers most.

    >>> best_threshold(np.array([2.0, -1.0]), (np.array([1.0, 0.0]),) * 2, (np.array([0.0, 1.0]),) * 2)
    {'threshold': 0.5, 'exact_match': 100.0, 'f1': 100.0}

    Args:
        margins: float [N], a question is answered where its margin is greater than the threshold.
        always: exact match and F1 of the likeliest spans, float [N] each.
        never: the same of answering nothing.
    """
    order = np.argsort(-margins, kind="stable")
    ranked = margins[order].astype(np.float64)
    # Entry n: the n questions of the greatest margins are answered.
    exact, f1 = (
        np.concatenate([[0.0], np.cumsum((yes - no)[order])]) + no.sum() for yes, no in zip(always, never)
    )
    possible = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])
    count = int(np.flatnonzero(possible & (f1 >= f1[possible].max() - 1e-9))[-1])
    ends = np.concatenate([[ranked[0] + 1], ranked, [ranked[-1] - 1]])
    return {
        "threshold": float(ends[count] + ends[count + 1]) / 2,
        "exact_match": 100 * float(exact[count]) / len(margins),
        "f1": 100 * float(f1[count]) / len(margins),
    }


def _both(
    wanted: Sequence[Sequence[str]], answers: Sequence[str], language: str
) -> tuple[np.ndarray, np.ndarray]:
    scores = [answer_scores(each, answer, language) for each, answer in zip(wanted, answers, strict=True)]
    exact, f1 = np.array(scores, np.float64).T
    return exact, f1


def _shared_words(wanted: Sequence[str], found: Sequence[str]) -> int:
    return (Counter(wanted) & Counter(found)).total()


def _shared_run(wanted: Sequence[str], found: Sequence[str]) -> int:
    return SequenceMatcher(None, wanted, found, autojunk=False).find_longest_match().size


def _f1(shared: int, num_wanted: int, num_found: int) -> float:
    if not num_wanted or not num_found:
        return float(num_wanted == num_found)
    return 2 * shared / (num_wanted + num_found)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
