"""Importance is the derivative of the loss with respect to a factor of what a head or a unit writes."""

import numpy as np
import tensorflow as tf

from tflm.compression.importance import row_importance
from tflm.models import TransformerDecoderConfig, build_model
from tflm.tasks.losses import token_cross_entropy

BATCH = {
    "token_ids": np.array([[1, 5, 9, 3], [2, 2, 7, 8]], np.int32),
    "targets": np.array([[5, 9, 3, 1], [2, 7, 8, 1]], np.int32),
}


class Next:
    """Cross entropy of the next token."""

    def loss(self, model, batch, training):
        assert not training
        states = model.hidden_states(batch["token_ids"])
        return token_cross_entropy(model, states, batch["targets"], tf.ones([2, 4]), compact=False)


class Repeated:
    """The same batch again and again."""

    def dataset(self):
        return tf.data.Dataset.from_tensors(BATCH).repeat()


def test_against_finite_differences():
    model = build_model(
        TransformerDecoderConfig(
            vocab_size=11, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=6, max_length=8
        )
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    found = row_importance(Next(), model, Repeated(), num_batches=2)
    block = model.decoder.blocks[0]
    for kernel in (block.attention.output_projection.kernel, block.feed_forward.outer.kernel):
        rows, values = found[kernel.path], np.array(kernel)
        assert rows.shape == (2, values.shape[0])
        np.testing.assert_array_equal(rows[0], rows[1])
        part, losses = slice(0, 4), []  # the first head; of the units the first four
        for factor in (1.01, 0.99):
            scaled = values.copy()
            scaled[part] *= factor
            kernel.assign(scaled)
            total, weight = Next().loss(model, BATCH, training=False)
            losses.append(float(total / weight))
        kernel.assign(values)
        derivative = (losses[0] - losses[1]) / 0.02
        np.testing.assert_allclose(rows[0, part].sum(), derivative, rtol=0.02, atol=2e-4)
