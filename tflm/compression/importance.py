"""Importance of heads, units and layers: the first-order change of the loss when they are removed."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.data import Batches
from tflm.tasks import Task

_KERNELS = ("attention/output/kernel", "cross_attention/output/kernel", "feed_forward/outer/kernel")
"""What heads and units write with: a factor of a head's output is one of its rows here."""


def row_importance(task: Task, model: Any, batches: Batches, num_batches: int) -> dict[str, np.ndarray]:
    """For each row of the kernels that heads and units write with, the sum of weight times gradient, w · g.

    Summed over the rows of a head it is the derivative of the loss with respect to a factor of the head's output, whose
    absolute value, averaged over batches, is the head's importance (Michel et al., 2019, section 4.1, equation 2); in
    the same way of a unit or of a layer (Molchanov et al., 2017, section 2.2).

    Args:
        task: gives the loss, which is taken without dropout.
        model: a Transformer, or a HeadModel on one.
        batches: of the training side.
        num_batches: int, of which the first ones are read.
    Returns:
        Path of a kernel to float64 [num_batches, rows].
    """
    kernels = [weight for weight in model.trainable_weights if weight.path.endswith(_KERNELS)]
    values = [kernel.value for kernel in kernels]

    @tf.function(autograph=False, reduce_retracing=True)
    def products(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss, weight = task.loss(model, batch, training=False)
            mean = tf.math.divide_no_nan(loss, weight)
        gradients = tape.gradient(mean, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.reduce_sum(value * each, axis=1) for value, each in zip(values, gradients, strict=True)]

    found = [products(batch) for batch in itertools.islice(batches.dataset(), num_batches)]
    columns = zip(*found, strict=True)
    return {kernel.path: np.asarray(each, np.float64) for kernel, each in zip(kernels, columns, strict=True)}
