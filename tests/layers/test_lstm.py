"""The LSTM against NumPy, against PyTorch where it is installed, and its own two ways against each other."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import LSTM
from tflm.layers import lstm as lstm_module

B, T, WIDTH, HIDDEN = 3, 5, 4, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_slowly(layer, x, hidden, cell, mask):
    """Step by step in float64; gates in the order input, forget, candidate, output."""
    kernel, recurrent, bias = (np.array(v, np.float64) for v in layer.weights)
    outputs = []
    for t in range(x.shape[1]):
        gates = np.split(x[:, t] @ kernel + hidden @ recurrent + bias, 4, axis=-1)
        new_cell = sigmoid(gates[1]) * cell + sigmoid(gates[0]) * np.tanh(gates[2])
        new_hidden = sigmoid(gates[3]) * np.tanh(new_cell)
        hidden = np.where(mask[:, t, None], new_hidden, hidden)
        cell = np.where(mask[:, t, None], new_cell, cell)
        outputs.append(hidden)
    return np.stack(outputs, 1), hidden, cell


@pytest.fixture
def layer(randomize_layer):
    layer = LSTM(HIDDEN)
    layer.build((None, None, WIDTH))
    return randomize_layer(layer)


@pytest.fixture
def inputs(rng):
    x = rng.normal(size=(B, T, WIDTH)).astype(np.float32)
    hidden, cell = rng.normal(size=(2, B, HIDDEN)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 0, 0, 1]], bool)
    return x, hidden, cell, mask


@pytest.fixture(params=["unrolled", "scanned"])
def way(request, monkeypatch):
    if request.param == "scanned":
        monkeypatch.setattr(lstm_module, "UNROLL_LIMIT", 0)
    return request.param


def test_against_numpy(layer, inputs, way):
    for result, expected in zip(layer(*inputs), lstm_slowly(layer, *inputs), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_no_mask_is_a_mask_of_true(layer, inputs, way):
    x, hidden, cell, _ = inputs
    expected = lstm_slowly(layer, x, hidden, cell, np.ones((B, T), bool))
    for result, value in zip(layer(x, hidden, cell, None), expected, strict=True):
        np.testing.assert_allclose(result, value, atol=1e-5)


def test_against_torch(layer, inputs):
    torch = pytest.importorskip("torch")
    x, hidden, cell, _ = inputs
    peer = torch.nn.LSTM(WIDTH, HIDDEN, batch_first=True)
    kernel, recurrent, bias = (np.array(v) for v in layer.weights)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(torch.tensor(kernel.T))
        peer.weight_hh_l0.copy_(torch.tensor(recurrent.T))
        peer.bias_ih_l0.copy_(torch.tensor(bias))
        peer.bias_hh_l0.zero_()
        state = (torch.tensor(hidden)[None], torch.tensor(cell)[None])
        outputs, (last_hidden, last_cell) = peer(torch.tensor(x), state)
    expected = (outputs.numpy(), last_hidden[0].numpy(), last_cell[0].numpy())
    for result, value in zip(layer(x, hidden, cell, None), expected, strict=True):
        np.testing.assert_allclose(result, value, atol=1e-5)


def test_gradients_of_both_ways_are_equal(layer, inputs, monkeypatch):
    def gradients():
        with tf.GradientTape() as tape:
            outputs, hidden, cell = layer(*inputs)
            loss = tf.reduce_sum(outputs**2) + tf.reduce_sum(hidden) + tf.reduce_sum(cell**2)
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    unrolled = gradients()
    monkeypatch.setattr(lstm_module, "UNROLL_LIMIT", 0)
    for one, other in zip(unrolled, gradients(), strict=True):
        assert np.any(one)
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_masked_steps_leave_the_state_and_repeat_it(layer, inputs):
    x, hidden, cell, _ = inputs
    mask = np.array([[0, 0, 1, 1, 0]] * B, bool)
    outputs, last_hidden, last_cell = layer(x, hidden, cell, mask)
    np.testing.assert_array_equal(outputs[:, 0], hidden)
    np.testing.assert_array_equal(outputs[:, 1], hidden)
    np.testing.assert_array_equal(last_hidden, outputs[:, 3])
    _, short_hidden, short_cell = layer(x[:, 2:4], hidden, cell, None)
    np.testing.assert_allclose(last_hidden, short_hidden, atol=1e-6)
    np.testing.assert_allclose(last_cell, short_cell, atol=1e-6)


def test_graph_shapes_and_precision(check_layer, inputs):
    check_layer(lambda: LSTM(HIDDEN), inputs, float32_outputs=(2,))


def test_a_long_sequence_is_a_loop_in_the_graph(layer):
    def ops(length):
        spec = tf.TensorSpec([1, length, WIDTH])
        state = tf.zeros((1, HIDDEN))
        graph = tf.function(lambda x: layer(x, state, state, None)).get_concrete_function(spec).graph
        return {op.type for op in graph.get_operations()}

    loops = {"While", "StatelessWhile"}
    assert not ops(3) & loops
    assert ops(lstm_module.UNROLL_LIMIT + 1) & loops and ops(None) & loops


def test_step_by_step_is_the_whole_sequence_to_the_last_bit_in_bfloat16(
    inputs, under_policy, randomize_layer
):
    """The cell vector crosses from call to call in float32."""
    x, hidden, cell, mask = inputs
    with under_policy("mixed_bfloat16"):
        layer = LSTM(HIDDEN)
        layer.build((None, None, WIDTH))
        randomize_layer(layer)
        outputs, _, last_cell = layer(x, hidden, cell, mask)
        for t in range(T):
            output, hidden, cell = layer(x[:, t : t + 1], hidden, cell, mask[:, t : t + 1])
            np.testing.assert_array_equal(tf.cast(output[:, 0] - outputs[:, t], tf.float32), 0.0)
    np.testing.assert_array_equal(cell, last_cell)


def test_the_forget_gate_begins_open():
    layer = LSTM(2)
    layer.build((None, None, WIDTH))
    np.testing.assert_array_equal(layer.bias, [0, 0, 1, 1, 0, 0, 0, 0])
    recurrent = np.array(layer.recurrent_kernel)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(2), atol=1e-5)
