"""Training of a task's model until it knows its examples by heart, for tests of tasks."""

import keras
import tensorflow as tf

from tests.by_heart import overfit


def learn_by_heart(task, model, batches, learning_rate=5e-3):
    """Trains on batches that each have all examples until they are known.

    Args:
        task: gives the loss.
        model: what is trained. Parts of it that the task does not use stay as they are.
        batches: any number of them.
        learning_rate: of Adam.
    Returns:
        The mean loss before each step.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True, autograph=False)
    def train(batch):
        with tf.GradientTape() as tape:
            total, weight = task.loss(model, batch, training=True)
        values = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        optimizer.apply([tf.convert_to_tensor(g) / weight for g in gradients], model.trainable_variables)
        return total, weight

    weights, batches = [], iter(batches)

    def step():
        total, weight = (float(value) for value in train(next(batches)))
        weights.append(weight)
        return total

    return [total / weight for total, weight in zip(overfit(step), weights, strict=True)]


def learn_store(task, model, store, batch_size, learning_rate=5e-3):
    """`learn_by_heart` from the batches of a store; `batch_size` is at least its number of rows."""
    batches = task.batches(store, batch_size, seed=0, training=True)
    return learn_by_heart(task, model, batches.dataset(), learning_rate)
