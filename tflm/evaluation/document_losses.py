"""How likely a model finds texts, each by itself: loss and perplexity from what `score` answers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.answers import AnswerFn, Columns
from tflm.evaluation.intervals import bootstrap


def document_losses(score_fn: AnswerFn, columns: Columns) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The mean over tokens, with intervals over texts.

    Two texts, log-probability -6 over 2 tokens and -2 over 2: loss 8 / 4 = 2, perplexity e ** 2.

    Args:
        score_fn: answers `log_probability` and `num_tokens`.
        columns: N texts; of pairs `text` and `target`, of which the target counts.
    Returns:
        `loss` in nats a token, `perplexity`, `NAME_interval` of both, and `num_tokens`, an int; and the arrays [N] that
        `score_fn` gave.
    Raises:
        UserError: no text has a token that counts.
    """
    outputs = dict(score_fn(columns))
    counts, sums = outputs["num_tokens"].astype(np.float64), -outputs["log_probability"].astype(np.float64)
    counted = counts > 0
    loss = bootstrap(sums[counted] / counts[counted], counts[counted])
    perplexity = [math.exp(min(each, 700.0)) for each in loss]
    return {
        "loss": loss.mean,
        "loss_interval": [loss.low, loss.high],
        "perplexity": perplexity[0],
        "perplexity_interval": perplexity[1:],
        "num_tokens": int(counts.sum()),
    }, outputs


def report_losses(score_fn: AnswerFn, examples: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The report of a language model. Each text is read by itself, from its beginning as far as the model reads.

    Args:
        score_fn: answers `log_probability` and `num_tokens`.
        examples: {"text"}.
    Returns:
        `this model`, the measures of `document_losses`; and `texts`, each example with its `num_tokens` and its
        `log_probability`, the mean of a token in nats; one without any token is left out.
    """
    measures, outputs = document_losses(score_fn, {"text": [example["text"] for example in examples]})
    rows = zip(examples, outputs["num_tokens"].tolist(), outputs["log_probability"].tolist(), strict=True)
    texts = [
        {**example, "num_tokens": count, "log_probability": round(total / count, 4)}
        for example, count, total in rows
        if count
    ]
    return {"this model": measures, "texts": texts}
