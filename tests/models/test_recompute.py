"""Blocks that are computed again in the backward pass: the same losses and gradients, fewer tensors kept."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.layers import drawing_masks
from tflm.models import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)
from tflm.training.dropout_masks import RowMasks, step_key

SIZES = {"vocab_size": 40, "num_layers": 2, "hidden_dim": 16, "num_heads": 2, "max_length": 32}
DROPOUT = {"dropout": 0.2, "attention_dropout": 0.1}
CONFIGS = {
    "decoder": TransformerDecoderConfig(**SIZES, **DROPOUT),
    "encoder": TransformerEncoderConfig(**SIZES, **DROPOUT, positions="learned", norm_position="post"),
    "encoder_decoder": TransformerEncoderDecoderConfig(**SIZES, **DROPOUT, positions="relative"),
    "window": TransformerDecoderConfig(**SIZES, **DROPOUT, sliding_window=4, full_attention_layers=(1,)),
}


# Compiling takes long: blocks with a memory, and blocks that differ from layer to layer.
@pytest.mark.parametrize(
    "kind, jit_compile",
    [*((kind, False) for kind in sorted(CONFIGS)), ("encoder_decoder", True), ("window", True)],
)
def test_losses_and_gradients_are_the_same(kind, jit_compile):
    rng = np.random.default_rng(0)
    ids = tf.constant(rng.integers(1, 40, (2, 12)), tf.int32)
    features = {"source_ids": ids[:, ::-1]} if kind == "encoder_decoder" else {}
    found = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        model = build_model(dataclasses.replace(CONFIGS[kind], recompute=recompute))

        @tf.function(autograph=False, jit_compile=jit_compile)
        def step(model=model):
            masks = RowMasks(step_key(0, tf.constant(0, tf.int64)), tf.constant(0, tf.int64))
            with drawing_masks(masks), tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(ids, training=True, **features) ** 2)
            values = [variable.value for variable in model.trainable_variables]
            return loss, [tf.convert_to_tensor(each) for each in tape.gradient(loss, values)]

        loss, gradients = step()
        found.append([loss.numpy(), *(each.numpy() for each in gradients)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


def test_the_backward_pass_keeps_the_inputs_of_blocks_alone():
    """What the forward graph gives to the backward graph, in numbers."""
    ids = tf.constant(np.ones((2, 24)), tf.int32)
    kept = []
    for recompute in (False, True):
        config = dataclasses.replace(
            CONFIGS["decoder"], recompute=recompute, dropout=0.0, attention_dropout=0.0
        )
        model = build_model(config)
        forward = tf.function(lambda model=model: model.hidden_states(ids, training=True), autograph=False)
        with tf.GradientTape():
            concrete = forward.get_concrete_function()
            outputs = concrete._delayed_rewrite_functions.forward_backward()[0].graph.outputs
        kept.append(sum(tensor.shape.num_elements() or 0 for tensor in outputs if tensor.dtype == tf.float32))
    assert kept[1] < 0.4 * kept[0]


def test_dropout_without_masks_of_a_step_is_refused():
    model = build_model(dataclasses.replace(CONFIGS["decoder"], recompute=True))
    with pytest.raises(UserError, match=r"needs training.dropout_masks=per_example"):
        model(tf.constant([[1, 2, 3]]), training=True)
