"""The LSTM encoder: padding changes nothing, every place sees the whole text, and it learns what that needs."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import overfit
from tflm.layers import TokenHead, time_loop
from tflm.models import HeadModel, LSTMEncoderConfig

CONFIG = LSTMEncoderConfig(vocab_size=29, num_layers=2, hidden_dim=12, max_length=16)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(CONFIG, scale=0.3)


@pytest.fixture
def token_ids(rng):
    """Rows of 7, 3 and 1 tokens."""
    ids = rng.integers(1, 29, size=(3, 7)).astype(np.int32)
    ids[1, 3:], ids[2, 1:] = 0, 0
    return ids


def test_parameter_counts(make_model):
    v, d = 29, 12
    direction = d * 2 * d + d // 2 * 2 * d + 2 * d
    assert make_model(CONFIG).num_parameters() == v * d + 2 * 2 * direction
    wide = make_model(dataclasses.replace(CONFIG, num_layers=1, embedding_dim=20, tied_output=False))
    assert wide.num_parameters() == v * 20 + 2 * (direction + 8 * 2 * d) + d * v
    assert wide(np.ones([2, 3], np.int32)).shape == (2, 3, v)
    paths = [variable.path for variable in wide.variables]
    assert len(set(paths)) == len(paths) and all(path.startswith("lstm_encoder/") for path in paths)


@pytest.mark.parametrize("limit", [time_loop.UNROLL_LIMIT, 0], ids=["unrolled", "scanned"])
def test_padding_changes_no_row(model, token_ids, monkeypatch, limit):
    alone = [model.hidden_states(row[row > 0][None])[0] for row in token_ids]
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", limit)
    wider = np.pad(token_ids, [[0, 0], [0, 4]])
    for together in (model.hidden_states(token_ids), model.hidden_states(wider)):
        for row, expected in zip(together, alone, strict=True):
            assert np.std(expected) > 0.05
            np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-5)


def test_every_place_sees_the_whole_text(model, token_ids):
    before = model.hidden_states(token_ids).numpy()
    for place in (0, 3, 6):
        changed = token_ids.copy()
        changed[0, place] = token_ids[0, place] % 28 + 1
        difference = np.abs(model.hidden_states(changed) - before).max(axis=-1)
        assert (difference[0] > 1e-6).all() and not difference[1:].any()


def test_one_graph_for_every_batch_and_length(model, token_ids):
    states = tf.function(model.hidden_states, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    for ids in (token_ids, token_ids[:1, :2]):
        np.testing.assert_allclose(states(ids), model.hidden_states(ids), atol=1e-5)


def test_mixed_precision_is_near_float32(make_model, model, token_ids):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make_model(CONFIG, scale=0.3)
    finally:
        keras.config.set_dtype_policy(policy)
    states, expected = mixed.hidden_states(token_ids), model.hidden_states(token_ids)
    assert states.dtype == tf.bfloat16
    assert float(tf.norm(tf.cast(states, tf.float32) - expected) / tf.norm(expected)) < 0.05


def test_a_head_learns_whether_a_token_comes_again(rng, make_model):
    """That asks for what stands behind a place."""
    body = make_model(dataclasses.replace(CONFIG, num_layers=1, hidden_dim=32))
    model = HeadModel(body, TokenHead(2, name="token_head"))
    ids = rng.integers(1, 9, size=(8, 6)).astype(np.int32)
    ids[4:, 4:] = 0
    again = np.array([[token in row[i + 1 :] for i, token in enumerate(row)] for row in ids], np.int32)
    optimizer = keras.optimizers.Adam(0.03)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(again, model(ids, training=True))
            loss = tf.reduce_mean(losses[ids > 0])
        values = [v.value for v in model.trainable_variables]
        gradients = tape.gradient(loss, values)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    losses = overfit(lambda: step() * (ids > 0).sum())
    assert losses[0] / (ids > 0).sum() > 0.5
