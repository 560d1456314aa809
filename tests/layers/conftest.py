"""What every layer must do, in one function, and a NumPy source of numbers."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf


@contextlib.contextmanager
def dtype_policy(name):
    """Layers made inside have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def randomize(layer, seed=0, scale=0.5):
    """Gives every weight, biases and scales of norms too, numbers that are not 0 or 1."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(0.1, scale, variable.shape))
    return layer


def check(make_layer, inputs, float32_outputs=()):
    """Graph equals eager, one trace serves every batch size and length, mixed_bfloat16 runs.

    Args:
        make_layer: gives a new layer.
        inputs: NumPy arrays in the order of the layer's arguments; the last axis of a float is its width.
        float32_outputs: places of outputs that stay in float32 under mixed_bfloat16.
    """
    inputs = [tf.constant(value) for value in inputs]
    layer = make_layer()
    layer(*inputs)
    randomize(layer)
    eager = tf.nest.flatten(layer(*inputs))
    _assert_close(tf.function(layer.__call__)(*inputs), eager, 1e-5)

    specs = [_open_spec(value) for value in inputs]
    open_call = tf.function(lambda *values: layer(*values), input_signature=specs)
    _assert_close(open_call(*inputs), eager, 1e-5)
    first_row = [value[:1] for value in inputs]
    _assert_close(open_call(*first_row), layer(*first_row), 1e-5)
    assert open_call.experimental_get_tracing_count() == 1

    with dtype_policy("mixed_bfloat16"):
        mixed = make_layer()
        mixed(*inputs)
    assert {variable.dtype for variable in mixed.variables} <= {"float32"}
    for variable, value in zip(mixed.variables, layer.variables, strict=True):
        variable.assign(value)
    outputs = tf.nest.flatten(mixed(*inputs))
    for place, (output, expected) in enumerate(zip(outputs, eager, strict=True)):
        assert output.dtype == (tf.float32 if place in float32_outputs else tf.bfloat16)
        error = tf.norm(tf.cast(output, tf.float32) - expected) / tf.norm(expected)
        assert error < 0.03, f"output {place} differs by {error:.3f} of its size"


def _open_spec(value):
    """Every axis unknown, but the width of a float and a leading 1, which stands for every row."""
    shape = [None] * value.shape.rank
    if value.dtype.is_floating:
        shape[-1] = value.shape[-1]
    return tf.TensorSpec(shape, value.dtype)


def _assert_close(outputs, expected, tolerance):
    outputs, expected = tf.nest.flatten(outputs), tf.nest.flatten(expected)
    for output, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, value, atol=tolerance, rtol=tolerance)


@pytest.fixture
def check_layer():
    return check


@pytest.fixture
def randomize_layer():
    return randomize


@pytest.fixture
def under_policy():
    return dtype_policy


@pytest.fixture
def rng():
    return np.random.default_rng(7)
