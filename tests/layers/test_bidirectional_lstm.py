"""The bidirectional LSTM against NumPy, row by row without padding, and against padding of any width."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import BidirectionalLSTM, time_loop

LENGTHS, T, WIDTH, HIDDEN = [5, 2, 0], 5, 4, 6


def one_way(layer, tokens, hidden, cell):
    """Outputs and last vectors of one row's real tokens, in float64."""
    kernel, recurrent, bias = (np.array(v, np.float64) for v in layer.weights)
    outputs = []
    for token in tokens:
        enter, forget, candidate, leave = np.split(token @ kernel + hidden @ recurrent + bias, 4)
        cell = cell / (1 + np.exp(-forget)) + np.tanh(candidate) / (1 + np.exp(-enter))
        hidden = np.tanh(cell) / (1 + np.exp(-leave))
        outputs.append(hidden)
    return np.reshape(outputs, [len(tokens), len(hidden)]), hidden, cell


@pytest.fixture
def layer(randomize_layer):
    layer = BidirectionalLSTM(HIDDEN)
    layer.build((None, None, WIDTH))
    return randomize_layer(layer)


@pytest.fixture
def inputs(rng):
    x = rng.normal(size=(3, T, WIDTH)).astype(np.float32)
    hidden, cell = rng.normal(size=(2, 3, HIDDEN)).astype(np.float32)
    return x, hidden, cell, np.arange(T) < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize("limit", [time_loop.UNROLL_LIMIT, 0], ids=["unrolled", "scanned"])
def test_against_numpy(layer, inputs, monkeypatch, limit):
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", limit)
    x, hidden, cell, _ = inputs
    outputs, last_hidden, last_cell = layer(*inputs)
    half = HIDDEN // 2
    for row, length in enumerate(LENGTHS):
        tokens = x[row, :length]
        forward = one_way(layer.forward, tokens, hidden[row, :half], cell[row, :half])
        backward = one_way(layer.backward, tokens[::-1], hidden[row, half:], cell[row, half:])
        expected = np.concatenate([forward[0], backward[0][::-1]], axis=-1)
        np.testing.assert_allclose(outputs[row, :length], expected, atol=1e-5)
        np.testing.assert_allclose(last_hidden[row], np.concatenate([forward[1], backward[1]]), atol=1e-5)
        np.testing.assert_allclose(last_cell[row], np.concatenate([forward[2], backward[2]]), atol=1e-5)


def test_no_mask_is_a_mask_of_true(layer, inputs):
    x, hidden, cell, _ = inputs
    expected = layer(x, hidden, cell, np.ones(x.shape[:2], bool))
    for result, value in zip(layer(x, hidden, cell, None), expected, strict=True):
        np.testing.assert_allclose(result, value, atol=1e-5)


def test_every_place_sees_the_whole_text_and_no_padding(layer, inputs):
    x, hidden, cell, mask = inputs
    before = layer(*inputs)[0].numpy()
    for place in range(T):
        changed = x.copy()
        changed[:, place] += 1.0
        difference = np.abs(layer(changed, hidden, cell, mask)[0] - before).max(axis=-1)
        assert (difference[0] > 1e-5).all()
        assert (difference[1, :2] > 1e-5).all() if place < 2 else not difference[1].any()
        assert not difference[2].any()


def test_graph_shapes_and_precision(check_layer, inputs):
    check_layer(lambda: BidirectionalLSTM(HIDDEN), inputs, float32_outputs=(2,))


def test_cells_cross_from_call_to_call_in_float32(under_policy, inputs):
    with under_policy("mixed_bfloat16"):
        layer = BidirectionalLSTM(HIDDEN)
        x, hidden, cell, _ = inputs
        _, _, last_cell = layer(x, hidden, cell + 1e-4, np.zeros(x.shape[:2], bool))
    assert last_cell.dtype == tf.float32
    np.testing.assert_array_equal(last_cell, cell + np.float32(1e-4))


def test_an_odd_width():
    with pytest.raises(ValueError, match="hidden_dim is even, half for each direction; got 5"):
        BidirectionalLSTM(5)
