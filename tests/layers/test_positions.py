"""Rotary and sinusoidal positions against complex numbers and the paper's formula."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import rotate, sinusoidal_positions
from tflm.layers.positions import RotaryScaling, rotary_frequencies, rotation


def rotate_slowly(states, positions, base):
    """Su et al., 2021, equation 12: each pair is a complex number, multiplied by exp(i position theta)."""
    half = states.shape[-1] // 2
    theta = base ** (-2.0 * np.arange(half) / states.shape[-1])
    turned = (states[..., :half] + 1j * states[..., half:]) * np.exp(1j * positions[:, :, None, None] * theta)
    return np.concatenate([turned.real, turned.imag], -1)


@pytest.mark.parametrize("base", [10000.0, 100.0])
def test_rotate_is_a_complex_product(rng, base):
    states = rng.normal(size=(2, 5, 3, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [0, 0, 7, 100, 255]])
    result = rotate(tf.constant(states), tf.constant(positions, tf.int32), base)
    np.testing.assert_allclose(result, rotate_slowly(states, positions, base), atol=2e-5)


def test_position_zero_turns_nothing_and_no_position_changes_a_length(rng):
    states = tf.constant(rng.normal(size=(1, 2, 1, 6)), tf.float32)
    turned = rotate(states, tf.constant([[0, 50]]))
    np.testing.assert_array_equal(turned[:, 0], states[:, 0])
    assert np.abs(turned[:, 1] - states[:, 1]).max() > 0.1
    np.testing.assert_allclose(tf.norm(turned, axis=-1), tf.norm(states, axis=-1), rtol=1e-5)


def test_a_product_depends_on_the_distance_alone(rng):
    query, key = (tf.constant(rng.normal(size=(1, 1, 1, 16)), tf.float32) for _ in range(2))

    def product(query_position, key_position):
        rotated = rotate(query, tf.constant([[query_position]])), rotate(key, tf.constant([[key_position]]))
        return float(tf.reduce_sum(rotated[0] * rotated[1]))

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(9, 4) == pytest.approx(product(5, 0), abs=1e-4)
    assert abs(product(9, 4) - product(9, 3)) > 1e-3
    assert abs(product(9, 4) - product(4, 9)) > 1e-3


def test_rotate_keeps_the_dtype(rng):
    states = tf.constant(rng.normal(size=(1, 3, 2, 4)), tf.bfloat16)
    positions = tf.constant([[0, 300, 511]])
    result = rotate(states, positions)
    assert result.dtype == tf.bfloat16
    # The angle itself is float32: bfloat16 cannot tell 511 from 512.
    expected = rotate_slowly(tf.cast(states, tf.float32).numpy(), positions.numpy(), 10000.0)
    np.testing.assert_allclose(tf.cast(result, tf.float32), expected, atol=0.05)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (RotaryScaling(), [1.0, 0.5623413, 0.3162278, 0.1778279, 0.1, 0.0562341, 0.0316228, 0.0177828]),
        (
            RotaryScaling("linear", 4.0),
            [0.25, 0.1405853, 0.0790569, 0.044457, 0.025, 0.0140585, 0.0079057, 0.0044457],
        ),
        (
            RotaryScaling("llama3", 4.0, 16),
            [0.6366197, 0.2013168, 0.0790569, 0.044457, 0.025, 0.0140585, 0.0079057, 0.0044457],
        ),
        (
            RotaryScaling("yarn", 4.0, 16, 1.0, 32.0),
            [1.0, 0.3514633, 0.0790569, 0.044457, 0.025, 0.0140585, 0.0079057, 0.0044457],
        ),
    ],
    ids=["none", "linear", "llama3", "yarn"],
)
def test_scaled_frequencies_equal_those_of_transformers(scaling, expected):
    """Of a head of 16 with the base 100, by transformers 5.24."""
    np.testing.assert_allclose(rotary_frequencies(16, 100.0, scaling), expected, atol=1e-7)


def test_a_magnitude_is_of_cosines_and_sines():
    positions = tf.range(3)[None]
    plain, larger = (
        rotation(positions, 4, 100.0, "float32", RotaryScaling("linear", 1.0, magnitude=m))
        for m in (1.0, 1.5)
    )
    np.testing.assert_allclose(larger.cosine, 1.5 * plain.cosine, rtol=1e-6)
    np.testing.assert_allclose(larger.sine, 1.5 * plain.sine, rtol=1e-6)


def test_sinusoidal_positions_follow_the_formula():
    positions, width = np.array([[0, 1, 2, 100]]), 10
    result = sinusoidal_positions(tf.constant(positions, tf.int32), width).numpy()
    assert result.shape == (1, 4, width) and result.dtype == np.float32
    for place, position in enumerate(positions[0]):
        for i in range(width // 2):
            angle = position / 10000 ** (2 * i / width)
            assert result[0, place, i] == pytest.approx(np.sin(angle), abs=1e-5)
            assert result[0, place, width // 2 + i] == pytest.approx(np.cos(angle), abs=1e-5)


def test_lengths_known_only_when_the_graph_runs(rng):
    states = tf.constant(rng.normal(size=(2, 5, 1, 4)), tf.float32)
    positions = tf.range(5)[None]
    specs = [tf.TensorSpec([None, None, 1, 4], tf.float32), tf.TensorSpec([None, None], tf.int32)]
    np.testing.assert_allclose(
        tf.function(rotate, input_signature=specs)(states, positions), rotate(states, positions), atol=1e-5
    )
