"""Metrics of a task over one pass of evaluation batches."""

from typing import Any

import tensorflow as tf

from tflm.data.batching.eval_loop import sum_over_batches


def evaluate(task: Any, model: Any, batches: Any, max_batches: int = 0) -> dict[str, float]:
    """`task.metrics` over one pass.

    Args:
        task: with `sums` and `metrics`; see `tflm.tasks`.
        model: the model of the task.
        batches: evaluation batches of the task.
        max_batches: evaluate only the first `max_batches` batches; 0 for all.
    Returns:
        `loss` and the other metrics of the task; for a language model `perplexity` and `num_tokens`.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return task.sums(model, batch)

    return task.metrics(sum_over_batches(step, batches.dataset(), max_batches))
