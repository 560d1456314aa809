"""The loss of every single held-out token, for intervals and paired tests."""

from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm


def token_losses(task: Any, model: Any, batches: Any) -> np.ndarray:
    """-ln p of each token that counts, in the order of the batches; their mean is `task.metrics`'s `loss`.

    Of a language model these are all tokens of the stream but the first, in its order. A bar shows how far it is.

    Args:
        task: a `TextTask`, that of the model.
        model: gives `hidden_states` and `logits`.
        batches: evaluation batches of that task.
    Returns:
        float32 [N], nats.
    """

    @tf.function(reduce_retracing=True)
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        batch = task.predicted(batch)
        states = model.hidden_states(batch["token_ids"], training=False, **task.features(batch))
        counted = tf.where(batch["loss_weights"] > 0)
        logits = model.logits(tf.gather_nd(states, counted))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather_nd(batch["targets"], counted), logits)

    bar = tqdm(batches.dataset(), total=batches.batches_per_epoch, desc="measuring", unit="batch", delay=2)
    return np.concatenate([np.zeros(0, np.float32), *(step(batch).numpy() for batch in bar)])
