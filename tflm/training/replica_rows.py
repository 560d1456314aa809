"""Each replica's rows of a batch: rows r * B / R to (r + 1) * B / R - 1 of every batch, so that what is trained on at a
step does not depend on the number of replicas R or of workers."""

from typing import Any

import tensorflow as tf

Batch = dict[str, tf.Tensor]


def distribute(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Any:
    """The batches for all replicas of a strategy.

    Sharding by tf.data (`AutoShardPolicy.DATA`) gives every worker other batches; here all workers make the same batch
    and take their rows of it. Rows keep the width of the whole batch.

    Args:
        strategy: with R replicas.
        batches: dict of tensors with B rows each; B is a multiple of R.
    Returns:
        `batches` itself with one replica, else a distributed dataset.
    """
    num_replicas = strategy.num_replicas_in_sync
    if num_replicas == 1:
        return batches

    def rows_of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = num_replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count

        def split(batch: Batch) -> tf.data.Dataset:
            parts = {
                name: _parts(value, num_replicas)[first : first + count] for name, value in batch.items()
            }
            return tf.data.Dataset.from_tensor_slices(parts)

        return batches.flat_map(split).prefetch(2 * count)

    return strategy.distribute_datasets_from_function(rows_of_worker)


def _parts(value: tf.Tensor, count: int) -> tf.Tensor:
    """[count, B / count, ...] of [B, ...]."""
    rows = None if value.shape[0] is None else value.shape[0] // count
    shape = tf.concat([[count, -1], tf.shape(value)[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(value, shape), [count, rows, *value.shape[1:]])
