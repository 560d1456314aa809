"""ROUGE-1, -2 and -L (Lin, 2004) by the rouge-score package: over words, or over characters where a text is Chinese."""

import re
from collections.abc import Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.scripts import CHARACTER, written_in_characters

KINDS = ("rouge1", "rouge2", "rougeL")
_UNIT = re.compile(rf"[{CHARACTER}]|[^\W_{CHARACTER}]+")


def rouge(references: Sequence[str], predictions: Sequence[str]) -> dict[str, np.ndarray]:
    """F1 of each example, from 0 to 1.

    English words are lower-cased and stemmed as rouge-score does with its stemmer; each Chinese, Japanese or Korean
    character is a word; a word with other letters ("für", "дом"), which rouge-score would cut to its ASCII letters or
    drop, is lower-cased and kept whole.

    Args:
        references: what was wanted.
        predictions: what came, in the same order.
    Returns:
        `rouge1`, `rouge2`, `rougeL`: float64 [N].
    Raises:
        UserError: rouge-score is not installed, or the numbers of texts differ.
    """
    if len(references) != len(predictions):
        raise UserError(
            f"{len(references)} references and {len(predictions)} predictions: give one for each."
        )
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError as error:
        raise UserError("ROUGE needs the package rouge-score: pip install 'tflm[eval]'.") from error
    words = tokenizers.DefaultTokenizer(use_stemmer=True)

    class Tokenizer(tokenizers.Tokenizer):
        """Words as rouge-score takes them, and single characters of scripts without spaces."""

        def tokenize(self, text: str) -> list[str]:
            """The tokens of a text, in order."""
            tokens: list[str] = []
            for unit in _UNIT.findall(text):
                tokens.extend(words.tokenize(unit) if unit.isascii() else [unit.lower()])
            return tokens

    scorer = rouge_scorer.RougeScorer(list(KINDS), tokenizer=Tokenizer())
    scores = [scorer.score(*pair) for pair in zip(references, predictions, strict=True)]
    return {kind: np.array([score[kind].fmeasure for score in scores]) for kind in KINDS}


def rouge_signature(references: Sequence[str]) -> str:
    """What must be told with ROUGE's numbers: the package, and what counts as a word in most of the references.

    >>> rouge_signature(["今天天气很好"])
    'rouge-score 0.1.2, F1, characters'
    """
    from importlib import metadata

    unit = "characters" if written_in_characters(references) else "words, Porter's stemmer"
    return f"rouge-score {metadata.version('rouge-score')}, F1, {unit}"
