"""Metrics of a task over one pass of evaluation batches."""

from typing import Any

import tensorflow as tf

from tflm.data.batching.eval_loop import EvalBatches, metrics_by_source, sum_over_batches


def evaluate(task: Any, model: Any, batches: EvalBatches, max_batches: int = 0) -> dict[str, Any]:
    """`task.metrics` over one pass.

    Args:
        task: with `sums` and `metrics`; see `tflm.tasks`.
        model: the model of the task.
        batches: evaluation batches of the task, of a mixture by source.
        max_batches: evaluate only the first `max_batches` batches, of each source; 0 for all.
    Returns:
        `loss` and the other metrics of the task; for a language model `perplexity` and `num_tokens`.
        Of a mixture also `NAME_loss` of each source, and `sources`, all of its metrics.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return task.sums(model, batch)

    metrics, by_source = metrics_by_source(
        lambda each: sum_over_batches(step, each.dataset(), max_batches), task.metrics, batches
    )
    return {**metrics, "sources": by_source} if by_source else metrics
