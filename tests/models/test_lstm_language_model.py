"""Sizes, state and gradients of the LSTM language model."""

import dataclasses

import numpy as np
import tensorflow as tf

from tflm.layers import time_loop


def test_parameter_counts(configs, make_model):
    v, d = 29, 12
    layer = d * 4 * d + d * 4 * d + 4 * d
    assert make_model(configs["lstm"]).num_parameters() == v * d + 2 * layer
    assert make_model(configs["lstm_deep"]).num_parameters() == v * d + 3 * layer
    assert make_model(configs["lstm_untied"]).num_parameters() == v * d + layer + d * v


def test_the_state_does_not_grow(configs, make_model):
    model = make_model(configs["lstm"])
    state = model.initial_state(2, 1000)
    assert state["hidden"].shape == state["cell"].shape == (2, 2, 12)
    extended = model.extend_state(state, 50)
    for one, other in zip(tf.nest.flatten(state), tf.nest.flatten(extended), strict=True):
        assert one is other


def test_a_row_of_padding_alone_leaves_the_state(rng, configs, make_model):
    model = make_model(configs["lstm"], scale=0.3)
    token_ids = rng.integers(1, 29, [2, 3]).astype(np.int32)
    _, state = model.step(token_ids, model.initial_state(2, 3, num_padding=tf.constant([3, 0])))
    assert not np.any(state["hidden"][0]) and not np.any(state["cell"][0])
    assert np.any(state["hidden"][1])


def test_the_loop_in_the_graph_gives_the_same_gradients(rng, configs, make_model, monkeypatch):
    model = make_model(configs["lstm"], scale=0.3)
    token_ids = rng.integers(1, 29, [3, 7]).astype(np.int32)

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.log_softmax(model(token_ids))[..., 5])
        return [
            tf.convert_to_tensor(g) for g in tape.gradient(loss, [v.value for v in model.trainable_variables])
        ]

    unrolled = gradients()
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", 0)
    for one, other in zip(unrolled, tf.function(gradients)(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def test_dropout_acts_in_training_alone(rng, configs, make_model):
    model = make_model(dataclasses.replace(configs["lstm"], dropout=0.5))
    token_ids = rng.integers(1, 29, [2, 5]).astype(np.int32)
    np.testing.assert_array_equal(model(token_ids), model(token_ids))
    assert np.any(model(token_ids, training=True) != model(token_ids, training=True))
