"""Both attentions and the LSTM that attends, against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import AttentiveLSTM, BahdanauAttention, LuongAttention, time_loop

B, K, S, WIDTH, INPUT = 3, 4, 5, 6, 3
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights_of(layer):
    """By the last two parts of their paths, as float64."""
    return {"/".join(v.path.split("/")[-2:]): np.array(v, np.float64) for v in layer.weights}


def luong_score(layer, query, value):
    return query @ weights_of(layer)["key/kernel"].T @ value  # the kernel goes from the value to the key


def bahdanau_score(layer, query, value):
    weights = weights_of(layer)
    inside = query @ weights["query/kernel"] + weights["query/bias"] + value @ weights["key/kernel"]
    return np.tanh(inside) @ weights["score/kernel"][:, 0]


SCORES = {LuongAttention: luong_score, BahdanauAttention: bahdanau_score}


def attend_slowly(layer, query, values, mask):
    """One query float [W] to one row's values."""
    real = values[mask]
    scores = np.exp([SCORES[type(layer)](layer, query, value) for value in real])
    return scores @ real / scores.sum()


@pytest.fixture(params=SCORES, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def values(rng):
    return rng.normal(size=(B, S, WIDTH)).astype(np.float32)


@pytest.fixture
def attention(kind, randomize_layer):
    layer = kind(WIDTH)
    layer.build((None, None, WIDTH))
    return randomize_layer(layer)


@pytest.fixture
def lstm(randomize_layer):
    layer = AttentiveLSTM(WIDTH)
    layer.build((None, None, INPUT))
    return randomize_layer(layer)


@pytest.fixture
def inputs(rng):
    x = rng.normal(size=(B, K, INPUT)).astype(np.float32)
    hidden, cell = rng.normal(size=(2, B, WIDTH)).astype(np.float32)
    return x, hidden, cell, np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]], bool)


def test_attention_against_numpy(rng, attention, values):
    queries = rng.normal(size=(B, K, WIDTH)).astype(np.float32)
    contexts = attention(queries, attention.keys(values), values, MASK)
    for row in range(B):
        for k in range(K):
            expected = attend_slowly(attention, queries[row, k].astype(np.float64), values[row], MASK[row])
            np.testing.assert_allclose(contexts[row, k], expected, atol=1e-5)


def test_a_source_without_tokens_gives_numbers(attention, values):
    contexts = attention(values, attention.keys(values), values, np.zeros((B, S), bool))
    assert np.isfinite(contexts).all()


def test_attention_graph_shapes_and_precision(check_layer, kind, rng, values):
    queries, keys = rng.normal(size=(2, B, K, WIDTH)).astype(np.float32)
    keys = np.concatenate([keys, keys[:, :1]], axis=1)
    check_layer(lambda: kind(WIDTH), (queries, keys, values, MASK))


@pytest.mark.parametrize("limit", [time_loop.UNROLL_LIMIT, 0], ids=["unrolled", "scanned"])
def test_the_lstm_against_numpy(lstm, inputs, values, monkeypatch, limit):
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", limit)
    memory = lstm.attention.keys(values), values, MASK
    results = lstm(*inputs, memory)
    kernels = [np.array(v, np.float64) for v in (lstm.kernel, lstm.recurrent_kernel, lstm.context_kernel)]
    for row in range(B):
        x, hidden, cell, mask = (part[row] for part in inputs)
        for t in range(K):
            if mask[t]:
                # What it attends to is chosen by where it stands before this step.
                context = attend_slowly(lstm.attention, hidden, values[row], MASK[row])
                entering = zip((x[t], hidden, context), kernels, strict=True)
                gates = sum(vector @ kernel for vector, kernel in entering) + np.array(lstm.bias, np.float64)
                enter, forget, candidate, leave = np.split(gates, 4)
                cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
                hidden = sigmoid(leave) * np.tanh(cell)
            np.testing.assert_allclose(results[0][row, t], hidden, atol=1e-5)
        np.testing.assert_allclose(results[1][row], hidden, atol=1e-5)
        np.testing.assert_allclose(results[2][row], cell, atol=1e-5)


def test_gradients_of_both_ways_are_equal(lstm, inputs, values, monkeypatch):
    def gradients():
        with tf.GradientTape() as tape:
            memory = lstm.attention.keys(values), values, MASK
            outputs, _, cell = lstm(*inputs, memory)
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(cell**2)
        return tape.gradient(loss, [v.value for v in lstm.trainable_variables])

    unrolled = gradients()
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", 0)
    for one, other in zip(unrolled, gradients(), strict=True):
        assert np.any(one)
        np.testing.assert_allclose(one, other, atol=1e-4)
