"""A product of known and unknown sizes against NumPy and Keras's own Dense."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.layers.linear import Linear, product, static_sizes


@pytest.mark.parametrize(
    "shape", [[None, 4], [None, 1, 4], [None, None, 4], [2, None, 4], [2, 3, 4]], ids=str
)
def test_it_is_a_product_whatever_is_known(rng, shape):
    states = rng.normal(size=[size or 3 for size in shape]).astype(np.float32)
    kernel = rng.normal(size=[4, 5]).astype(np.float32)
    graph = tf.function(lambda x: product(x, tf.constant(kernel)), input_signature=[tf.TensorSpec(shape)])
    np.testing.assert_allclose(graph(states), states @ kernel, rtol=1e-5, atol=1e-5)
    assert graph.get_concrete_function().output_shapes.as_list() == [*shape[:-1], 5]


def test_it_is_keras_dense_with_a_smaller_graph(rng):
    states = rng.normal(size=[2, 3, 4]).astype(np.float32)
    layers = [kind(5, activation="tanh", name="same") for kind in (Linear, keras.layers.Dense)]
    for layer in layers:
        layer.build([None, None, 4])
    layers[1].set_weights(layers[0].get_weights())
    graphs = [tf.function(layer, input_signature=[tf.TensorSpec([None, 1, 4])]) for layer in layers]
    np.testing.assert_allclose(graphs[0](states[:, :1]), graphs[1](states[:, :1]), rtol=1e-5)
    sizes = [len(graph.get_concrete_function().graph.get_operations()) for graph in graphs]
    assert sizes[0] < sizes[1] / 2


def test_one_size_that_is_not_known_costs_the_graph_nothing():
    found = []

    @tf.function(input_signature=[tf.TensorSpec([None, 1, 8]), tf.TensorSpec([None, None, 8])])
    def graph(one, two):
        found.extend([static_sizes(one), static_sizes(two)])
        return one

    graph.get_concrete_function()
    assert found[0] == (-1, 1, 8)
    assert found[1][0] == -1 and tf.is_tensor(found[1][1]) and found[1][2] == 8
