"""Products with 8-bit and 4-bit matrices: as a whole, in parts and compiled by XLA, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.export.quantize import group_size, quantize_int4, quantize_int8
from tflm.export.stored_matrix import dequantize
from tflm.layers import LSTM, quantized
from tflm.layers.linear import Linear, TokenEmbedding
from tflm.layers.quantized import Int4Matrix, Int8Matrix, compiled_by_xla, padded_columns


def matrix_of(rows, bits):
    """The matrix whose transpose has these rows, and its values as NumPy reads them, [E, D]."""
    num_columns, width = rows.shape
    if bits == 8:
        stored, matrix = quantize_int8(rows), Int8Matrix(width, num_columns)
    else:
        group = group_size(width)
        stored, matrix = quantize_int4(rows, group), Int4Matrix(width, num_columns, group)
    arrays = [array for array in stored if array is not None]
    for variable, array in zip(matrix.weights, arrays, strict=True):
        variable.assign(array)
    return matrix, dequantize(stored)


@pytest.fixture(params=[(8, 40, 24), (4, 40, 32), (4, 130, 48)], ids=str, scope="module")
def made(request):
    """4 bits of 130 columns are three blocks, of which the last is not full."""
    bits, num_columns, width = request.param
    rows = np.random.default_rng(1).normal(size=(num_columns, width)).astype(np.float32)
    return matrix_of(rows, bits)


def close(found, expected):
    """The rounding of a sum is relative to its largest terms."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("num_rows", [1, 3])
def test_a_product_as_a_whole_and_in_parts(made, rng, monkeypatch, num_rows):
    matrix, rows = made
    states = rng.normal(size=(num_rows, matrix.width)).astype(np.float32)
    close(matrix.product(states), states @ rows.T)
    monkeypatch.setattr(quantized, "_LARGEST_WHOLE", 0)
    monkeypatch.setattr(quantized, "_LARGEST_PART", 8 * matrix.width)
    assert quantized._part_size(40, matrix.width) == 8
    close(matrix.product(states), states @ rows.T)


def test_the_tensor_is_that_of_numpy_to_the_bit(made):
    matrix, rows = made
    np.testing.assert_array_equal(matrix.tensor(), rows.T)


@pytest.mark.parametrize("in_loop", [True, False])
def test_in_a_loop_that_xla_compiles_codes_stay_codes(made, rng, in_loop):
    matrix, rows = made
    width, num_columns = matrix.shape

    @tf.function(input_signature=[tf.TensorSpec([None, width])], jit_compile=True, autograph=False)
    def sums(states):
        def step(count, total, states):
            with compiled_by_xla(in_loop=in_loop):
                return count + 1, total + matrix.product(states), states + 1.0

        start = 0, tf.zeros([tf.shape(states)[0], num_columns]), states
        return tf.while_loop(lambda count, *_: count < 3, step, start)[1]

    for num_rows in (1, 3):
        states = rng.normal(size=(num_rows, width)).astype(np.float32)
        close(sums(states), sum((states + count) @ rows.T for count in range(3)))
        text = sums.experimental_get_compiler_ir(states)(stage="optimized_hlo")
        carried = [line for line in text.splitlines() if " while(" in line]
        assert any("s8[" in line or "u8[" in line for line in carried)
        whole = {f"f32[{width},{num_columns}]", f"f32[{num_columns},{width}]"}
        assert not any(shape in line for line in carried for shape in whole), "converted before the loop"


def test_the_rows_of_an_embedding(rng):
    table = rng.normal(size=(30, 8)).astype(np.float32)
    layer = TokenEmbedding(30, 8)
    layer.build()
    matrix, rows = matrix_of(table, 8)
    layer._tracker.unlock()
    del layer._embeddings
    layer._embeddings = matrix
    ids = np.array([[3, 29], [0, 3]], np.int32)
    np.testing.assert_array_equal(layer(ids), rows[ids])


def test_an_lstm_step_by_step_and_at_once(rng):
    layer = LSTM(8)
    layer.build((None, None, 8))
    layer._tracker.unlock()
    for name in layer.matrices:
        values = np.asarray(getattr(layer, name))
        delattr(layer, name)
        setattr(layer, name, matrix_of(np.ascontiguousarray(values.T), 8)[0])
    inputs = rng.normal(size=(2, 3, 8)).astype(np.float32)
    hidden = cell = np.zeros((2, 8), np.float32)
    expected = layer(inputs, hidden, cell, None)
    for place in range(3):
        _, hidden, cell = layer(inputs[:, place : place + 1], hidden, cell, None)
    close(hidden, expected[1])
    close(cell, expected[2])


def test_a_dense_layer_has_no_gradient_to_stop(rng):
    layer = Linear(6)
    layer.build((None, 4))
    matrix, rows = matrix_of(rng.normal(size=(6, 4)).astype(np.float32), 8)
    layer._tracker.unlock()
    del layer._kernel
    layer._kernel = matrix
    states = rng.normal(size=(2, 3, 4)).astype(np.float32)
    close(layer(states), states @ rows.T)
    assert keras.tree.flatten(layer.trainable_variables) == [layer.bias]


def test_a_large_vocabulary_has_parts_of_a_good_size():
    assert padded_columns(64, 257) == 257, "small ones are converted as a whole"
    for width, num_columns in ((768, 50257), (896, 151936), (512, 10007)):
        padded = padded_columns(width, num_columns)
        assert num_columns <= padded < 1.02 * num_columns
        assert 64 <= quantized._part_size(padded, width) <= 400_000 // width
