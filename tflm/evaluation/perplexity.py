"""Loss and perplexity over one pass of batches."""

import itertools
from typing import Any

import tensorflow as tf


def perplexity(task: Any, model: Any, batches: Any, max_batches: int = 0) -> dict[str, float]:
    """`task.metrics` over one pass.

    Args:
        task: gives `loss` and `metrics`; see `tflm.tasks`.
        model: a language model.
        batches: evaluation batches of that task.
        max_batches: the first so many alone; 0 for all.
    Returns:
        `loss` in nats a token, `perplexity`, `num_tokens`.
    """

    @tf.function(reduce_retracing=True)
    def step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return task.loss(model, batch, training=False)

    loss_sum = weight = 0.0
    for batch in itertools.islice(batches.dataset(), max_batches or None):
        values = step(batch)
        loss_sum, weight = loss_sum + float(values[0]), weight + float(values[1])
    return task.metrics(loss_sum, weight)
