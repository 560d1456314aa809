"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004) by the rouge-score package, for words of any script."""

from collections.abc import Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.registry import TextScores, averaged, register_metric
from tflm.text.words import comparable, split_words, written_in_characters

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(references: Sequence[str], predictions: Sequence[str]) -> dict[str, np.ndarray]:
    """ROUGE F1 of each example, in [0, 1].

    Texts are normalized by `comparable`. ASCII words are stemmed by rouge-score (Porter). Each character of Chinese,
    Japanese, Korean, Thai, Lao, Khmer or Burmese is a word, with its combining marks. Words with other letters ("für",
    "дом", "नमस्ते") are kept whole; rouge-score alone would reduce them to their ASCII letters.

    Args:
        references: N reference texts.
        predictions: N generated texts in the same order.
    Returns:
        `rouge1`, `rouge2`, `rougeL`: float64 [N].
    Raises:
        UserError: rouge-score is not installed, or the numbers of texts differ.
    """
    if len(references) != len(predictions):
        raise UserError(
            f"found {len(references)} references and {len(predictions)} predictions; expected equal numbers."
        )
    try:
        from rouge_score import rouge_scorer, tokenizers
    except ImportError as error:
        raise UserError("ROUGE needs the package rouge-score: pip install 'tflm[eval]'.") from error
    words = tokenizers.DefaultTokenizer(use_stemmer=True)

    class AnyScriptTokenizer(tokenizers.Tokenizer):
        """Words as in rouge-score, and single characters for scripts without spaces."""

        def tokenize(self, text: str) -> list[str]:
            """The tokens of a text, in order."""
            tokens: list[str] = []
            for word in split_words(comparable(text)):
                tokens.extend(words.tokenize(word) if word.isascii() else [word])
            return tokens

    scorer = rouge_scorer.RougeScorer(list(KINDS), tokenizer=AnyScriptTokenizer())
    scores = [scorer.score(*pair) for pair in zip(references, predictions, strict=True)]
    return {kind: np.array([score[kind].fmeasure for score in scores]) for kind in KINDS}


def rouge_signature(references: Sequence[str]) -> str:
    """A signature to report with ROUGE scores: package version and word unit of most references.

    >>> rouge_signature(["今天天气很好"])
    'rouge-score 0.1.2, F1, characters'
    """
    from importlib import metadata

    unit = "characters" if written_in_characters(references) else "words, Porter's stemmer"
    return f"rouge-score {metadata.version('rouge-score')}, F1, {unit}"


@register_metric("rouge")
def _rouge_scores(targets: Sequence[str], outputs: Sequence[str], tokenizer: str = "") -> TextScores:
    """Means of ROUGE in percent; of each text ROUGE-L, from 0 to 1."""
    del tokenizer
    scores = rouge(targets, outputs)
    measures = averaged({kind: 100 * values for kind, values in scores.items()}).measures
    return TextScores(
        measures, "rougeL", scores["rougeL"], {"rouge": rouge_signature(targets)}, has_baseline=True
    )
