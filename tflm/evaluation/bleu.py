"""BLEU (Papineni et al., 2002) and chrF (Popovic, 2015) by sacreBLEU (Post, 2018), with its signatures."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.intervals import Interval

_NUM_SAMPLES = 1000
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class CorpusScore:
    """One measure of a whole corpus."""

    score: Interval
    """From 0 to 100; the interval is sacreBLEU's own 95%, by drawing examples 1,000 times."""
    signature: str
    """What must be told with the number, as sacreBLEU writes it."""
    segments: np.ndarray
    """float64 [N]: each example by itself. Their mean is not the corpus score, which adds up counts first."""


def bleu(references: Sequence[str], predictions: Sequence[str], tokenize: str = "") -> dict[str, CorpusScore]:
    """Corpus BLEU and chrF, one reference an example.

    Args:
        references: what was wanted.
        predictions: what came, in the same order, not tokenised.
        tokenize: sacreBLEU's name of how BLEU finds words, such as "13a", "zh" or "char"; by default "zh" where the
            references are mostly Chinese, else "13a". chrF needs none.
    Returns:
        `bleu` and `chrf`.
    Raises:
        UserError: sacreBLEU is not installed, the numbers of texts differ, there are none, or it knows no such
            `tokenize`.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise UserError("BLEU and chrF need the package sacrebleu: pip install 'tflm[eval]'.") from error
    if not references or len(references) != len(predictions):
        raise UserError(
            f"{len(references)} references and {len(predictions)} predictions: give one for each, one at least."
        )
    tokenize = tokenize or ("zh" if _mostly_chinese(references) else "13a")
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"tokenize is one of {', '.join(sorted(BLEU.TOKENIZERS))}; got {tokenize!r}.")
    # A short sentence has no 4-grams; sacreBLEU asks for the effective order of sentences, not of a corpus.
    single = BLEU(tokenize=tokenize, effective_order=True)
    return {
        "bleu": _scored(BLEU(tokenize=tokenize), single, references, predictions),
        "chrf": _scored(CHRF(), CHRF(), references, predictions),
    }


def _scored(metric, single, references: Sequence[str], predictions: Sequence[str]) -> CorpusScore:  # type: ignore[no-untyped-def]
    score = metric.corpus_score(list(predictions), [list(references)], n_bootstrap=_NUM_SAMPLES)
    # sacreBLEU tells the mean of the draws and half the interval's width around it.
    interval = Interval(score.score, score._mean - score._ci, score._mean + score._ci)
    segments = [
        single.sentence_score(*pair).score for pair in zip(predictions, ([text] for text in references))
    ]
    return CorpusScore(interval, str(metric.get_signature()), np.array(segments))


def _mostly_chinese(texts: Sequence[str]) -> bool:
    """More Han characters than words in Latin letters; kana beside them are Japanese, which "zh" does not cut."""
    joined = "\n".join(texts)
    num_kana = len(re.findall("[\u3040-\u30ff]", joined))
    num_han = len(_HAN.findall(joined))
    return num_han > len(_WORD.findall(joined)) and num_kana * 10 < num_han
