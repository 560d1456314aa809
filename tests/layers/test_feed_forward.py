"""Each activation against its formula in NumPy."""

import math

import numpy as np
import pytest

from tflm.layers import FeedForward
from tflm.layers.feed_forward import ACTIVATIONS, GATED


def gelu(x):
    """Hendrycks and Gimpel, 2016, section 2, the tanh form."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def exact_gelu(x):
    """The same, section 2, with the error function."""
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def silu(x):
    return x / (1 + np.exp(-x))


def feed_forward_slowly(x, weights, activation):
    inner = x @ weights["inner/kernel"] + weights.get("inner/bias", 0)
    if activation == "gelu":
        inner = gelu(inner)
    elif activation == "gelu_exact":
        inner = exact_gelu(inner)
    elif activation == "relu_squared":
        inner = np.maximum(inner, 0) ** 2
    elif activation == "relu":
        inner = np.maximum(inner, 0)
    else:
        gate = x @ weights["gate/kernel"] + weights.get("gate/bias", 0)
        inner = (gelu(gate) if activation == "geglu" else silu(gate)) * inner
    return inner @ weights["outer/kernel"] + weights.get("outer/bias", 0)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_against_numpy(rng, randomize_layer, activation, use_bias):
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    layer = FeedForward(10, activation, use_bias=use_bias)
    layer(x)
    randomize_layer(layer)
    weights = {v.path.split("/", 1)[1]: np.array(v) for v in layer.weights}
    assert len(weights) == (3 if activation in GATED else 2) * (2 if use_bias else 1)
    np.testing.assert_allclose(layer(x), feed_forward_slowly(x, weights, activation), atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_graph_shapes_and_precision(rng, check_layer, activation):
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    check_layer(lambda: FeedForward(10, activation, use_bias=True), [x])


def test_the_output_kernel_has_its_own_initializer(rng):
    layer = FeedForward(10, "gelu", initializer="ones", output_initializer="zeros")
    x = rng.normal(size=(1, 2, 6)).astype(np.float32)
    assert not np.any(layer(x))
    np.testing.assert_array_equal(layer.inner.kernel, np.ones([6, 10]))


def test_an_unknown_activation():
    with pytest.raises(
        ValueError,
        match="activation is one of gelu, gelu_exact, relu, relu_squared, swiglu, geglu; got 'tanh'",
    ):
        FeedForward(10, "tanh")
