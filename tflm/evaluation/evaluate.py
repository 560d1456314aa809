"""A task's measures over one pass of batches."""

import itertools
from typing import Any

import tensorflow as tf


def evaluate(task: Any, model: Any, batches: Any, max_batches: int = 0) -> dict[str, float]:
    """`task.metrics` over one pass.

    Args:
        task: gives `sums` and `metrics`; see `tflm.tasks`.
        model: the model of that task.
        batches: evaluation batches of that task.
        max_batches: the first so many alone; 0 for all.
    Returns:
        `loss`, and whatever else the task is measured by: of a language model `perplexity` and `num_tokens`.
    """

    @tf.function(reduce_retracing=True)
    def step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return task.sums(model, batch)

    sums: dict[str, float] = {}
    for batch in itertools.islice(batches.dataset(), max_batches or None):
        for name, value in step(batch).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    return task.metrics(sums)
