"""Losses of held-out text: of every token of a stream, and of separate documents with their perplexity."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.data.batching.eval_loop import run_eval_loop
from tflm.evaluation.metrics.intervals import bootstrap
from tflm.evaluation.registry import register_report
from tflm.evaluation.reports.answers import AnswerFn, Columns, Signatures


def document_losses(score_fn: AnswerFn, columns: Columns) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Mean loss per token, with confidence intervals over texts.

    Two texts with log-probabilities -6 and -2 and 2 tokens each: loss 8 / 4 = 2, perplexity e ** 2.

    Args:
        score_fn: returns `log_probability` [N] and `num_tokens` [N].
        columns: `text`, N texts; for pairs also `target`, and only target tokens count.
    Returns:
        `loss` in nats per token, `perplexity`, `loss_interval`, `perplexity_interval` and `num_tokens`, an int; and
        the outputs of `score_fn`.
    Raises:
        UserError: no text has a token.
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
    """The report of a language model. Each text is scored separately, truncated to the model's maximum length.

    Args:
        score_fn: returns `log_probability` and `num_tokens`.
        examples: {"text"}.
    Returns:
        `this model`, the metrics of `document_losses`; and `texts`, each example with its `num_tokens` and its mean
        `log_probability` per token in nats. Texts without tokens are skipped.
    """
    measures, outputs = document_losses(score_fn, {"text": [example["text"] for example in examples]})
    rows = zip(examples, outputs["num_tokens"].tolist(), outputs["log_probability"].tolist(), strict=True)
    texts = [
        {**example, "num_tokens": count, "log_probability": round(total / count, 4)}
        for example, count, total in rows
        if count
    ]
    return {"this model": measures, "texts": texts}


@register_report("document_losses")
def _losses_report(fns: Signatures, examples: Sequence[dict[str, str]], config: Any) -> dict[str, Any]:
    """`report_losses` by the signature `score`."""
    del config
    return report_losses(fns("score"), examples)


def token_losses(task: Any, model: Any, batches: Any) -> np.ndarray:
    """-ln p of each target token with a loss weight above 0, in the order of the batches; their mean is the `loss` of
    `task.metrics`.

    For a language model, these are all tokens of the stream except the first, in order. Shows a progress bar.

    Args:
        task: the `TextTask` of the model.
        model: with `hidden_states` and `logits`.
        batches: evaluation batches of the task.
    Returns:
        float32 [N], nats.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        batch = task.predicted(batch)
        states = model.hidden_states(batch["token_ids"], training=False, **task.features(batch))
        weighted = tf.where(batch["loss_weights"] > 0)
        logits = model.logits(tf.gather_nd(states, weighted))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.gather_nd(batch["targets"], weighted), logits
        )

    losses = run_eval_loop(
        step, batches.dataset(), num_batches=batches.batches_per_epoch, description="evaluating"
    )
    return np.concatenate([np.zeros(0, np.float32), *(each.numpy() for each in losses)])
