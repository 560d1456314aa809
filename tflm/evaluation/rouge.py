"""ROUGE-1, -2 and -L (Lin, 2004) by the rouge-score package; Han characters count as words of their own."""

import re
from collections.abc import Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.scripts import CHARACTER

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(references: Sequence[str], predictions: Sequence[str]) -> dict[str, np.ndarray]:
    """F1 of each example, from 0 to 1.

    English words are lower-cased and stemmed as rouge-score does by default with its stemmer; each Chinese,
    Japanese or Korean character is a word.

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
            for part in re.findall(f"[{CHARACTER}]|[^{CHARACTER}]+", text):
                tokens.extend([part] if re.match(f"[{CHARACTER}]$", part) else words.tokenize(part))
            return tokens

    scorer = rouge_scorer.RougeScorer(list(KINDS), tokenizer=Tokenizer())
    scores = [scorer.score(*pair) for pair in zip(references, predictions, strict=True)]
    return {kind: np.array([score[kind].fmeasure for score in scores]) for kind in KINDS}
