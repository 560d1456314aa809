"""The wiring of a block, written out with its own parts, against the block; and its dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import Attention, FeedForward, TransformerBlock, make_norm

B, T, WIDTH = 2, 4, 8
MASK, POSITIONS = np.tril(np.ones([1, T, T], bool)), np.arange(T, dtype=np.int32)[None]


def make_block(pre_norm, dropout=0.0, output_norm=False):
    return TransformerBlock(
        Attention(2, 1, 4, rotary=True, name="attention"),
        FeedForward(16, "swiglu", name="feed_forward"),
        lambda name: make_norm("layer_norm", 1e-5, name),
        pre_norm=pre_norm,
        output_norm=output_norm,
        dropout=dropout,
    )


@pytest.fixture
def x(rng):
    return rng.normal(size=(B, T, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_wiring_is_the_diagram(x, randomize_layer, pre_norm):
    block = make_block(pre_norm)
    block(x, MASK, POSITIONS)
    randomize_layer(block)

    def attend(states):
        return block.attention(states, MASK, POSITIONS)[0]

    if pre_norm:
        middle = x + attend(block.attention_norm(x))
        expected = middle + block.feed_forward(block.feed_forward_norm(middle))
    else:
        middle = block.attention_norm(x + attend(x))
        expected = block.feed_forward_norm(middle + block.feed_forward(middle))
    result, (keys, _) = block(x, MASK, POSITIONS)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    attended = block.attention_norm(x) if pre_norm else x
    np.testing.assert_allclose(keys, block.attention(attended, MASK, POSITIONS)[1][0], atol=1e-5)


def test_norms_of_the_outputs(x, randomize_layer):
    block = make_block(True, output_norm=True)
    block(x, MASK, POSITIONS)
    randomize_layer(block)
    after_attention, after_feed_forward = block.output_norms
    attended = block.attention(block.attention_norm(x), MASK, POSITIONS)[0]
    middle = x + after_attention(attended)
    expected = middle + after_feed_forward(block.feed_forward(block.feed_forward_norm(middle)))
    np.testing.assert_allclose(block(x, MASK, POSITIONS)[0], expected, atol=1e-5)
    assert [norm.name for norm in block.output_norms] == ["attention_output_norm", "feed_forward_output_norm"]


@pytest.mark.parametrize("pre_norm", [True, False])
def test_graph_shapes_and_precision(x, check_layer, pre_norm):
    mask, positions = np.repeat(MASK, B, axis=0), np.repeat(POSITIONS, B, axis=0)
    check_layer(lambda: make_block(pre_norm), [x, mask, positions])


def test_a_graph_of_unknown_sizes_stays_small():
    """Models have many blocks, and a graph is traced, optimized and loaded in time that grows with its operations."""
    block = make_block(True)
    block.build([None, None, WIDTH])
    floats = tf.TensorSpec([None, None, WIDTH])
    graph = tf.function(lambda x, bias, at: block(x, bias, at)[0]).get_concrete_function(
        floats, tf.TensorSpec([None, 1, None, None]), tf.TensorSpec([None, None], tf.int32)
    )
    assert len(graph.graph.get_operations()) < 250  # 402 where each part asks for the sizes


def test_dropout_acts_on_each_half_in_training_alone(x):
    keras.utils.set_random_seed(0)
    block = make_block(True, dropout=0.5)
    still, _ = block(x, MASK, POSITIONS)
    np.testing.assert_array_equal(block(x, MASK, POSITIONS)[0], still)
    assert np.any(block(x, MASK, POSITIONS, training=True)[0] != still)
    for half in ("attention", "feed_forward"):
        # With the other half silent, what is added to x is either 0 or twice the half's output.
        block = make_block(True, dropout=0.5)
        block(x, MASK, POSITIONS)
        silent = block.feed_forward.outer if half == "attention" else block.attention.output_projection
        silent.kernel.assign(tf.zeros_like(silent.kernel))
        added = block(x, MASK, POSITIONS)[0] - x
        ratio = (block(x, MASK, POSITIONS, training=True)[0] - x) / added
        np.testing.assert_allclose(np.unique(np.round(ratio, 2)), [0.0, 2.0])
