"""The two norms against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import make_norm

EPSILON = 0.01  # large, so that a wrong one shows


def layer_norm(x, weights):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + EPSILON) * weights[0] + weights[1]


def rms_norm(x, weights):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * weights[0]


@pytest.mark.parametrize("kind,reference", [("layer_norm", layer_norm), ("rms_norm", rms_norm)])
def test_against_numpy(rng, check_layer, randomize_layer, kind, reference):
    x = rng.normal(2.0, 0.3, size=(3, 4, 8)).astype(np.float32)
    layer = make_norm(kind, EPSILON, "norm")
    layer(x)
    randomize_layer(layer)
    np.testing.assert_allclose(layer(x), reference(x, [np.array(w) for w in layer.weights]), atol=1e-5)
    assert layer.name == "norm"
    check_layer(lambda: make_norm(kind, EPSILON, "norm"), [x])


@pytest.mark.parametrize("kind,reference", [("layer_norm", layer_norm), ("rms_norm", rms_norm)])
def test_statistics_are_float32_under_mixed_precision(under_policy, kind, reference):
    x = tf.cast(tf.linspace(256.0, 260.0, 512), tf.bfloat16)[None]  # bfloat16 sums would be far off
    with under_policy("mixed_bfloat16"):
        layer = make_norm(kind, EPSILON, "norm")
        result = tf.cast(layer(x), tf.float32)
    exact = tf.cast(x, tf.float32).numpy()
    np.testing.assert_allclose(result, reference(exact, [1.0, 0.0]), atol=0.02)


def test_an_unknown_norm():
    with pytest.raises(ValueError, match="norm is one of layer_norm, rms_norm; got 'batch_norm'"):
        make_norm("batch_norm", 1e-5, "norm")
