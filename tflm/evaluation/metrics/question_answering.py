"""Metrics of extractive question answering: exact match and F1, over words as in SQuAD or over characters as in
CMRC 2018."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.metrics.intervals import bootstrap
from tflm.evaluation.registry import register_report
from tflm.evaluation.reports.answers import AnswerFn, Signatures
from tflm.tasks.features.answer_spans import read_answers
from tflm.text.cjk import CHARACTER
from tflm.text.words import MARK, comparable, written_in_characters

_TOKEN = re.compile(rf"[{CHARACTER}][{MARK}]*|[^\s{CHARACTER}]+")
_ARTICLE = re.compile(rf"\b(?:a|an|the)\b(?![{MARK}])")


def answer_scores(references: Sequence[str], answer: str, language: str) -> tuple[float, float]:
    """Exact match and F1 of one answer, in [0, 1], maximum over the references.

    Texts are normalized by `comparable`: NFC, case folded.

    "english", for all scripts with spaces (SQuAD; Rajpurkar et al., 2016, section 6.1): articles (a, an, the) and
    punctuation are removed, where punctuation is that of ASCII and Unicode category P, as in MLQA (Lewis et al., 2020);
    F1 is over the bags of words.

    "chinese", for all scripts without spaces (CMRC 2018; Cui et al., 2019, and its evaluation script): punctuation is
    removed, and the overlap is the longest common substring of tokens. In mixed segmentation, each character of
    Chinese, Japanese, Korean, Thai, Lao, Khmer or Burmese is a token, with its combining marks, and each word of
    another script is a token. Punctuation is Unicode categories P and S, and words end at spaces; the script uses a
    fixed list of marks and the tokenizer of NLTK.

    Without a reference answer, or if no reference has a token, both are 1 for an empty answer and 0 otherwise (SQuAD
    2.0; Rajpurkar et al., 2018).

    >>> answer_scores(["the quick fox"], "A fox", "english")
    (0.0, 0.666...)
    >>> answer_scores(["北京大学"], "在北京", "chinese")
    (0.0, 0.571...)

    Raises:
        UserError: unknown language.
    """
    if language not in ("english", "chinese"):
        raise UserError(f"language is 'english' or 'chinese' (by character); got {language!r}.")
    tokens_fn = english_tokens if language == "english" else chinese_tokens
    shared_fn = _shared_words if language == "english" else _shared_run
    found = tokens_fn(answer)
    wanted = [tokens for text in references if (tokens := tokens_fn(text))] or [[]]
    exact = max(float(tokens == found) for tokens in wanted)
    return exact, max(_f1(shared_fn(tokens, found), len(tokens), len(found)) for tokens in wanted)


def english_tokens(text: str) -> list[str]:
    """Words without articles and punctuation.

    >>> english_tokens("The U.S. army, an ARMY")
    ['us', 'army', 'army']
    """
    plain = "".join(c for c in comparable(text) if c not in string.punctuation and not _is_of(c, "P"))
    return _ARTICLE.sub(" ", plain).split()


def chinese_tokens(text: str) -> list[str]:
    """Mixed segmentation without punctuation.

    >>> chinese_tokens("《北京》 iPhone 4S！")
    ['北', '京', 'iphone', '4s']
    """
    plain = "".join(c for c in comparable(text) if not _is_of(c, "PS"))
    return _TOKEN.findall(plain)


def _is_of(character: str, categories: str) -> bool:
    return unicodedata.category(character)[0] in categories


def report_answers(answer_fn: AnswerFn, examples: Sequence[dict[str, str]], language: str) -> dict[str, Any]:
    """The report of a question answering model.

    Args:
        answer_fn: maps `question` and `context` to `answer`, `score`, `margin` [N] and `answers` [N, K].
        examples: {"question", "context", "answers"}.
        language: "english" or "chinese", see `answer_scores`.
    Returns:
        `this model`: `exact_match` and `f1`, in [0, 100]; if some but not all questions are answerable, also
        `answerable_exact_match`, `answerable_f1` and `unanswerable_accuracy`; each with its 95% interval
        `NAME_interval`. `best threshold`: the `threshold` with the best F1, and both metrics at it; it is chosen on
        these examples, so these numbers are optimistic. `texts`: each example with its `answer`, `score`, `margin`,
        and `exact_match` and `f1` in [0, 1].
    Raises:
        UserError: no examples, or unknown language.
    """
    if not examples:
        raise UserError("there are no questions to evaluate: give at least one example.")
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
    """The no-answer threshold with the best F1, as in the evaluation script of SQuAD 2.0; the lowest in case of ties.

    >>> best_threshold(np.array([2.0, -1.0]), (np.array([1.0, 0.0]),) * 2, (np.array([0.0, 1.0]),) * 2)
    {'threshold': 0.5, 'exact_match': 100.0, 'f1': 100.0}

    Args:
        margins: float [N]; a question is answered if its margin is greater than the threshold.
        always: exact match and F1 of the best spans, float [N] each.
        never: exact match and F1 of empty answers, float [N] each.
    """
    order = np.argsort(-margins, kind="stable")
    ranked = margins[order].astype(np.float64)
    # Entry n: the n questions with the largest margins are answered.
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


@register_report("answers")
def _answers_report(fns: Signatures, examples: Sequence[dict[str, str]], config: Any) -> dict[str, Any]:
    """`report_answers` by `serving_default`; words are counted by the script of the questions."""
    del config
    in_characters = written_in_characters(example["question"] for example in examples)
    return report_answers(fns("serving_default"), examples, "chinese" if in_characters else "english")
