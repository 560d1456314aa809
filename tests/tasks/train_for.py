"""A few steps of training on a store, for tests of tasks."""

import keras
import tensorflow as tf


def train_for(num_steps, task, model, store, batch_size, learning_rate=5e-3):
    """The loss before each step. Parts of the model that the task does not use stay as they are."""
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True, autograph=False)
    def train(batch):
        with tf.GradientTape() as tape:
            total, weight = task.loss(model, batch, training=True)
        values = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(total, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        optimizer.apply([tf.convert_to_tensor(g) / weight for g in gradients], model.trainable_variables)
        return total / weight

    batches = task.batches(store, batch_size, seed=0, training=True)
    return [float(train(batch)) for batch in batches.dataset().take(num_steps)]
