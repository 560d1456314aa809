"""BLEU (Papineni et al., 2002) and chrF (Popovic, 2015) by sacreBLEU (Post, 2018), with its signatures."""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.metrics.intervals import Interval
from tflm.evaluation.registry import TextScores, register_metric
from tflm.text.cjk import HAN, KANA, SOUTHEAST_ASIAN
from tflm.text.words import MARK

_NUM_SAMPLES = 1000
_UNSPACED = HAN + KANA + SOUTHEAST_ASIAN
_WORD = re.compile(rf"[^\W\d_{_UNSPACED}](?:[^\W\d_{_UNSPACED}]|[{MARK}])*")


@dataclasses.dataclass(frozen=True)
class CorpusScore:
    """A corpus-level metric."""

    score: Interval
    """From 0 to 100, with the 95% bootstrap interval of sacreBLEU over 1,000 resamples."""
    signature: str
    """The sacreBLEU signature, to be reported with the score; ends in "unicode:nfc" if a text was not in NFC."""
    segments: np.ndarray
    """float64 [N], sentence-level scores. Their mean differs from the corpus score, which sums counts first."""


def bleu(references: Sequence[str], predictions: Sequence[str], tokenize: str = "") -> dict[str, CorpusScore]:
    """Corpus BLEU and chrF with one reference per example. Texts are normalized to NFC.

    Args:
        references: N reference texts.
        predictions: N generated texts in the same order, not tokenized.
        tokenize: name of the sacreBLEU tokenizer for BLEU, such as "13a", "zh" or "char". By default "zh" for mostly
            Chinese references, "char" for mostly Japanese, Thai, Lao, Khmer or Burmese ones, else "13a". chrF uses no
            tokenizer.
    Returns:
        `bleu` and `chrf`.
    Raises:
        UserError: sacreBLEU is not installed, the numbers of texts differ or are 0, or the tokenizer is unknown.
    """
    check_tokenizer(tokenize or "13a")
    from sacrebleu.metrics import BLEU, CHRF

    if not references or len(references) != len(predictions):
        raise UserError(
            f"found {len(references)} references and {len(predictions)} predictions; expected equal numbers, at least "
            "one each."
        )
    form = (
        ""
        if all(unicodedata.is_normalized("NFC", text) for text in (*references, *predictions))
        else "|unicode:nfc"
    )
    references, predictions = (
        [unicodedata.normalize("NFC", text) for text in side] for side in (references, predictions)
    )
    tokenize = tokenize or tokenizer_by_script(references)
    # Short sentences have no 4-grams: sentence-level BLEU uses the effective order, corpus BLEU does not.
    single = BLEU(tokenize=tokenize, effective_order=True)
    found = {
        "bleu": _scored(BLEU(tokenize=tokenize), single, references, predictions),
        "chrf": _scored(CHRF(), CHRF(), references, predictions),
    }
    return {name: dataclasses.replace(each, signature=each.signature + form) for name, each in found.items()}


def _scored(metric, single, references: Sequence[str], predictions: Sequence[str]) -> CorpusScore:  # type: ignore[no-untyped-def]
    score = metric.corpus_score(list(predictions), [list(references)], n_bootstrap=_NUM_SAMPLES)
    # sacreBLEU returns the mean of the resamples and half the width of the interval around it.
    interval = Interval(score.score, score._mean - score._ci, score._mean + score._ci)
    segments = [
        single.sentence_score(*pair).score for pair in zip(predictions, ([text] for text in references))
    ]
    return CorpusScore(interval, str(metric.get_signature()), np.array(segments))


def check_tokenizer(name: str) -> None:
    """Checks that sacreBLEU has the tokenizer `name`.

    Raises:
        UserError: sacreBLEU is not installed, the tokenizer is unknown, or a package that it needs is missing.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise UserError("BLEU and chrF need the package sacrebleu: pip install 'tflm[eval]'.") from error
    if name not in BLEU.TOKENIZERS:
        raise UserError(f"tokenize is one of {', '.join(sorted(BLEU.TOKENIZERS))}; got {name!r}.")
    try:
        BLEU(tokenize=name)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"sacreBLEU's tokenizer {name!r} needs another package: pip install 'sacrebleu[{name[:2]}]'."
        ) from error


def tokenizer_by_script(texts: Sequence[str]) -> str:
    """The sacreBLEU tokenizer for the majority script. A character of a script without spaces counts as a word.

    >>> tokenizer_by_script(["日本語のテキスト"]), tokenizer_by_script(["一个 Transformer 模型"])
    ('char', 'zh')
    """
    joined = "\n".join(texts)
    han, kana, southeast = (
        len(re.findall(rf"(?=\w)[{characters}]", joined)) for characters in (HAN, KANA, SOUTHEAST_ASIAN)
    )
    if han + kana + southeast <= len(_WORD.findall(joined)):
        return "13a"
    # Chinese texts contain some kana, such as names.
    return "zh" if han > southeast and kana * 10 < han else "char"


@register_metric("bleu")
def _bleu_scores(targets: Sequence[str], outputs: Sequence[str], tokenizer: str = "") -> TextScores:
    """BLEU and chrF of the corpus; of each text chrF."""
    corpus = bleu(targets, outputs, tokenizer)
    measures: dict[str, Any] = {}
    for name, each in corpus.items():
        measures |= {name: float(each.score.mean), f"{name}_interval": [float(end) for end in each.score[1:]]}
    signatures = {name: each.signature for name, each in corpus.items()}
    return TextScores(measures, "chrf", np.round(corpus["chrf"].segments, 2), signatures)
