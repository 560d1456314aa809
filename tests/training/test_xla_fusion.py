"""Compiled chains against the same chains as they are written."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.conftest import dtype_policy
from tflm.layers import any_shapes, compiled, fused, fusing
from tflm.models import LSTMConfig, TransformerDecoderConfig, TransformerEncoderDecoderConfig, build_model
from tflm.tasks.losses import token_cross_entropy
from tflm.training import xla_fusion
from tflm.training.xla_fusion import XlaFusion

SIZES = {"vocab_size": 40, "num_layers": 1, "hidden_dim": 16, "num_heads": 2, "max_length": 16}
FUSED = {
    "lstm": LSTMConfig(vocab_size=40, num_layers=2, hidden_dim=16, max_length=16),
    "gpt": TransformerDecoderConfig(**SIZES, norm="layer_norm", activation="gelu", use_bias=True),
    "llama": TransformerDecoderConfig(
        **SIZES, activation="swiglu", qk_norm=True, num_kv_heads=1, recompute=True
    ),
    "t5": TransformerEncoderDecoderConfig(**SIZES, positions="relative", num_kv_heads=1, activation="geglu"),
}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", list(FUSED))
def test_fused_chains_have_the_loss_and_the_gradients_of_plain_ones(kind, precision, monkeypatch):
    monkeypatch.setattr(xla_fusion, "_SMALLEST", 1)
    monkeypatch.setattr(xla_fusion, "_SMALLEST_REPEATED", 1)
    keras.utils.set_random_seed(0)
    with dtype_policy(precision):
        model = build_model(FUSED[kind])
    ids = tf.constant(np.random.default_rng(0).integers(1, 40, (2, 12)), tf.int32)
    features = {"source_ids": ids[:, ::-1]} if kind == "t5" else {}
    with dtype_policy(precision):
        model.hidden_states(ids, **features)
    values = [variable.value for variable in model.trainable_variables]
    found, fusion = [], XlaFusion()
    for each in (None, fusion):

        @tf.function(autograph=False)
        def step(each=each):
            with fusing(each):
                with tf.GradientTape() as tape:
                    states = model.hidden_states(ids, training=True, **features)
                    loss = tf.reduce_mean(tf.cast(states, tf.float32) ** 2)
                zero = tf.UnconnectedGradients.ZERO
                parts = tape.gradient(loss, values, unconnected_gradients=zero)
            return loss, [tf.convert_to_tensor(each) for each in parts]

        loss, gradients = step()
        found.append([loss.numpy(), *(each.numpy() for each in gradients)])
    assert len(fusion.compiled) >= 2, "norm, softmax and activation; the cell and its gradient"
    scale = max(np.abs(each).max() for each in found[0][1:])
    within = 1e-5 if precision == "float32" else 0.05
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=within * scale)


def test_small_chains_are_left_as_they_are():
    fusion = XlaFusion()
    assert fusion.fuse(lambda x: x + 1.0, (tf.ones([3]),), ()).numpy().tolist() == [2.0] * 3
    assert fusion.compile(lambda x: x[0] + 1.0, ((tf.ones([3]),),), False).numpy().tolist() == [2.0] * 3
    assert not fusion.compiled
    assert float(fusion.fuse(tf.square, (tf.fill([1 << 18], 3.0),), ())[0]) == 9.0
    assert float(fusion.compile(tf.exp, (tf.zeros([1 << 15]),), repeated=True)[0]) == 1.0
    assert float(fusion.compile(tf.tanh, (tf.zeros([1 << 15]),), repeated=False)[0]) == 0.0
    assert len(fusion.compiled) == 2


@pytest.mark.parametrize(
    "largest,size,is_compiled",
    [(None, 1 << 20, False), ((4, 8), 1 << 14, False), ((4, 8), 1 << 15, True)],
    ids=["no bound", "too small for the largest batch", "large enough"],
)
def test_unknown_shapes_are_compiled_where_a_batch_may_be_large(largest, size, is_compiled):
    fusion = XlaFusion(largest)
    unknown = tf.function(lambda x: fusion.fuse(tf.square, (x,), ()), autograph=False)
    unknown.get_concrete_function(tf.TensorSpec([None, size]))
    assert bool(fusion.compiled) == is_compiled


def test_the_size_of_a_batch_decides_in_each_step(monkeypatch):
    """One trace for all widths; a small batch is computed by the plain form."""
    monkeypatch.setattr(xla_fusion, "_SMALLEST_UNKNOWN", 40)
    monkeypatch.setattr(xla_fusion, "_SMALLEST", 1)
    fusion, seen = XlaFusion((4, 8)), []

    def chain(x):
        seen.append(x.shape)
        return x * tf.sigmoid(x)

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            with fusing(fusion):
                y = fused(chain, x)
        return y, tape.gradient(y, x)

    specs = step.get_concrete_function(tf.TensorSpec([4, None, 2]))
    num_traces = len(seen)
    for width in (1, 4, 5, 8):
        x = tf.constant(np.random.default_rng(width).normal(size=(4, width, 2)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            expected = x * tf.sigmoid(x)
        for found, value in zip(specs(x), (expected, tape.gradient(expected, x)), strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    assert len(seen) == num_traces and step.experimental_get_tracing_count() == 1


def test_chains_of_any_shape_are_left_as_they_are():
    fusion = XlaFusion((1 << 10, 1 << 10))

    @tf.function(autograph=False)
    def step(x, rows):
        with fusing(fusion), any_shapes():
            return fused(tf.square, tf.gather(x, tf.where(rows)[:, 0])), compiled(tf.exp, x)

    step.get_concrete_function(tf.TensorSpec([1 << 10, 1 << 9]), tf.TensorSpec([1 << 10], tf.bool))
    assert [function for function, _ in fusion.compiled] == [tf.exp], "its shape is known"


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("width", [None, 12])
def test_the_loss_of_a_step_is_that_without_kernels(monkeypatch, width, compact):
    """Its value and the gradients of states and table, whole or in slices, of known and unknown length."""
    monkeypatch.setattr(xla_fusion, "_SMALLEST", 1)
    monkeypatch.setattr(xla_fusion, "_SMALLEST_UNKNOWN", 1)
    keras.utils.set_random_seed(0)
    model = build_model(FUSED["gpt"])
    model.build_variables()
    rng = np.random.default_rng(0)
    states = tf.constant(rng.normal(size=(2, 12, 16)), tf.float32)
    targets = tf.constant(rng.integers(1, 40, (2, 12)), tf.int32)
    weights = tf.constant(rng.integers(0, 2, (2, 12)), tf.float32)
    for size in (1 << 23, 40 * 5):
        monkeypatch.setattr("tflm.tasks.losses._TRAINING_SLICE", size)
        found = []
        for fusion in (None, XlaFusion((2, 12))):

            @tf.function(autograph=False)
            def step(states, targets, weights, fusion=fusion):
                table = model.embedding.embeddings.value
                with fusing(fusion), tf.GradientTape() as tape:
                    tape.watch(states)
                    loss, _ = token_cross_entropy(model, states, targets, weights, compact, training=True)
                return [loss, *tape.gradient(loss, [states, table])]

            specs = [
                tf.TensorSpec([2, width, 16]),
                tf.TensorSpec([2, width], tf.int32),
                tf.TensorSpec([2, width]),
            ]
            found.append(step.get_concrete_function(*specs)(states, targets, weights))
        assert bool(fusion.compiled) != compact
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
