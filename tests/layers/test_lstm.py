"""The LSTM against NumPy, against PyTorch where it is installed, and its own two ways against each other."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import LSTM, time_loop

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
        monkeypatch.setattr(time_loop, "UNROLL_LIMIT", 0)
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
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'tflm[bench]'")
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


def gradients_of(layer, inputs, training):
    """Of everything that has one: weights, inputs, hidden and cell vectors."""
    *floats, mask = (None if value is None else tf.constant(value) for value in inputs)
    weights = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        outputs, hidden, cell = layer(*floats, mask, training=training)
        scale = tf.range(1.0, T + 1)[None, :, None]
        loss = tf.reduce_sum(scale * outputs**2) + tf.reduce_sum(hidden) + tf.reduce_sum(cell**2)
    return tape.gradient(loss, [*weights, *floats])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_every_way_has_the_same_gradients(layer, inputs, way, monkeypatch, training, masked):
    inputs = inputs if masked else (*inputs[:3], None)
    graph = tf.function(lambda: gradients_of(layer, inputs, training), autograph=False)
    results = gradients_of(layer, inputs, training), graph()
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", 128)
    for result in results:
        for one, other in zip(result, gradients_of(layer, inputs, training=False), strict=True):
            assert np.any(other)
            np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-5)


def test_the_transposed_kernel_is_no_part_of_the_products_of_the_steps(layer, inputs):
    """A `transpose` right before them would become one: TensorFlow would write it again in each step."""
    graph = tf.function(lambda: gradients_of(layer, inputs, training=True)).get_concrete_function().graph
    products = [op for op in graph.get_operations() if op.type == "MatMul" and not op.get_attr("transpose_b")]
    steps = [op for op in products if op.inputs[0].shape == (B, 4 * HIDDEN)]
    assert len(steps) == T and {op.inputs[1].op.type for op in steps} == {"Reshape"}


def test_training_gradients_against_differences(layer, inputs):
    """What central differences of the NumPy layer say, in a few places of each weight."""
    x, hidden, cell, mask = inputs

    def loss():
        outputs, hidden_after, cell_after = lstm_slowly(layer, x, hidden, cell, mask)
        return (np.arange(1, T + 1)[:, None] * outputs**2).sum() + hidden_after.sum() + (cell_after**2).sum()

    for variable, gradient in zip(layer.weights, gradients_of(layer, inputs, training=True), strict=False):
        value = np.array(variable)
        for place in [(0,) * value.ndim, (-1,) * value.ndim, (value.shape[0] // 2,) * value.ndim]:
            losses = []
            for change in (1e-2, -1e-2):
                changed = value.copy()
                changed[place] += change
                variable.assign(changed)
                losses.append(loss())
            variable.assign(value)
            assert gradient.numpy()[place] == pytest.approx(
                (losses[0] - losses[1]) / 2e-2, rel=2e-2, abs=1e-2
            )


@pytest.mark.parametrize("limit", [128, 0], ids=["unrolled", "scanned"])
def test_training_in_bfloat16(layer, inputs, under_policy, monkeypatch, limit):
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", limit)
    with under_policy("mixed_bfloat16"):
        mixed = LSTM(HIDDEN)
        mixed.build((None, None, WIDTH))
    for variable, value in zip(mixed.weights, layer.weights, strict=True):
        variable.assign(value)

    def gradients(layer):
        with tf.GradientTape() as tape:
            outputs, _, cell = layer(*inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2) + tf.reduce_sum(cell**2)
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    for one, other in zip(gradients(mixed), gradients(layer), strict=True):
        assert one.dtype == tf.float32
        assert tf.norm(one - other) / tf.norm(other) < 0.03


def test_training_changes_no_value_and_no_graph_that_is_served(layer, inputs, way):
    for one, other in zip(layer(*inputs, training=True), layer(*inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    graph = tf.function(lambda: layer(*inputs)).get_concrete_function().graph.as_graph_def(add_shapes=False)
    assert not any("_gradient_op_type" in node.attr for node in graph.node)


def test_walk_both_ways(way):
    def count(carry, x):
        return (carry[0] + x,)

    for reverse, expected in ((False, [1.0, 3.0, 6.0]), (True, [6.0, 5.0, 3.0])):
        (last,), (all_,) = time_loop.scan(
            count, (tf.zeros([1, 1]),), (tf.constant([[[1.0], [2.0], [3.0]]]), None), reverse
        )
        np.testing.assert_array_equal(last, [[6.0]])
        np.testing.assert_array_equal(all_[0, :, 0], expected)


def test_masked_steps_leave_the_state_and_repeat_it(layer, inputs):
    x, hidden, cell, _ = inputs
    mask = np.array([[0, 0, 1, 1, 0]] * B, bool)
    outputs, last_hidden, last_cell = layer(x, hidden, cell, mask)
    np.testing.assert_array_equal(outputs[:, 0], hidden)
    np.testing.assert_array_equal(outputs[:, 1], hidden)
    np.testing.assert_array_equal(last_hidden, outputs[:, 3])
    _, short_hidden, short_cell = layer(x[:, 2:4], hidden, cell, None)
    np.testing.assert_allclose(last_hidden, short_hidden, atol=1e-5)
    np.testing.assert_allclose(last_cell, short_cell, atol=1e-5)


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
    assert ops(time_loop.UNROLL_LIMIT + 1) & loops and ops(None) & loops


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
