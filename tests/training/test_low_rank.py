"""Adapters change nothing at first, are where they should be, and merge into kernels that answer the same."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.layers import PooledHead
from tflm.models import (
    HeadModel,
    LSTMConfig,
    TransformerDecoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)
from tflm.training import FineTuningConfig
from tflm.training.fine_tuning import choose_trainable
from tflm.training.low_rank import add_adapters, is_adapter, merged_weights

SIZES = {"vocab_size": 17, "hidden_dim": 8, "num_layers": 2, "num_heads": 2}
DECODER = TransformerDecoderConfig(**SIZES, use_bias=True, tied_output=False)
TOKENS = np.array([[1, 5, 9, 13], [1, 7, 2, 0]], np.int32)


def adapted(model, rank=2, alpha=16.0):
    """With adapters that are no longer zero."""
    add_adapters(model, rank, alpha)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if is_adapter(variable.path):
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
    return model


def test_at_first_nothing_changes():
    model = build_model(DECODER)
    before = np.array(model(TOKENS))
    add_adapters(model, 2, 16.0)
    np.testing.assert_array_equal(model(TOKENS), before)


def test_they_stand_beside_attention_and_feed_forward_and_nothing_else():
    model = HeadModel(build_model(DECODER), PooledHead(3, hidden_layer=True, name="classification_head"))
    kernels = {v.path for v in model.weights if v.path.endswith("/kernel")}
    choose_trainable(model, FineTuningConfig(lora_rank=2))
    expected = {path for path in kernels if "/block_" in path}
    assert len(expected) == 2 * 7
    assert {v.path.rpartition("/")[0] + "/kernel" for v in model.weights if is_adapter(v.path)} == expected
    rest = [v.path for v in model.trainable_variables if not is_adapter(v.path)]
    assert len(rest) == 4 and all(path.startswith("classification_head/") for path in rest)


def test_both_sides_of_an_encoder_decoder_have_them():
    model = build_model(TransformerEncoderDecoderConfig(**SIZES, activation="relu"))
    add_adapters(model, 2, 16.0)
    found = {v.path.rpartition("/")[0].split("/", 1)[1] for v in model.weights if is_adapter(v.path)}
    assert len(found) == 2 * 6 + 2 * 10
    assert {"encoder/block_0/attention/key", "decoder/block_1/cross_attention/value"} <= found


def test_the_formula_of_the_paper():
    """h = W x + alpha / r * B A x (section 4.1), in NumPy, for one projection."""
    model = adapted(build_model(DECODER), rank=2, alpha=6.0)
    query = model.decoder.blocks[0].attention.query
    x = np.random.default_rng(1).normal(size=(1, 3, 8)).astype(np.float32)
    a, b = np.array(query.lora_kernel_a), np.array(query.lora_kernel_b)
    assert a.shape == (8, 2) and b.shape == (2, 8)
    kernel = dict((v.path, np.array(v)) for v in model.weights)[f"{query.path}/kernel"]
    expected = x @ kernel + 6.0 / 2 * (x @ a @ b) + np.array(query.bias)
    np.testing.assert_allclose(query(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", [False, True])
def test_merged_into_a_plain_model_the_answers_are_the_same(head):
    def make():
        body = build_model(DECODER)
        return HeadModel(body, PooledHead(3, name="classification_head")) if head else body

    model, fresh = adapted(make()), make()
    merged = merged_weights(model)
    assert merged.keys() == {variable.path for variable in fresh.weights}
    for variable in fresh.weights:
        variable.assign(merged[variable.path])
    # The outputs of the small head are sums that cancel; other adapters would change them by their own size.
    expected = np.array(model(TOKENS))
    assert np.abs(np.array(fresh(TOKENS)) - expected).max() < 1e-3 * np.abs(expected).max()
    plain = {v.path: np.array(v) for v in model.weights}
    changed = {path for path, value in merged.items() if np.any(value != plain[path])}
    assert changed == {path for path in plain if "/block_" in path and path.endswith("/kernel")}


def test_an_lstm_has_none():
    model = build_model(LSTMConfig(vocab_size=17, hidden_dim=8, num_layers=1))
    with pytest.raises(
        UserError, match=r"lora_rank=2 needs a Transformer; this model is a lstm_language_model"
    ):
        choose_trainable(model, FineTuningConfig(lora_rank=2))


def test_in_mixed_precision_adapters_are_float32_and_learn(small_run, tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, "transformer", fine_tuning={"lora_rank": 2}, precision="mixed_bfloat16", num_steps=2
    )
    assert {variable.dtype for variable in trainer.model.trainable_variables} == {"float32"}
    trainer.train(small_run.Numbers(), None)
    b = [np.array(v) for v in trainer.model.weights if v.path.endswith("lora_kernel_b")]
    assert len(b) == 7 and all(np.isfinite(value).all() and np.abs(value).max() > 0 for value in b)
    assert keras.config.dtype_policy().name == "float32"


def test_the_same_seed_gives_the_same_adapters(small_run, tmp_path):
    def first_layers(seed):
        trainer = small_run.make_trainer(
            tmp_path, "plain_transformer", fine_tuning={"lora_rank": 2}, seed=seed
        )
        return [np.array(v) for v in trainer.model.weights if v.path.endswith("lora_kernel_a")]

    one, same, other = first_layers(1), first_layers(1), first_layers(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_rank_and_alpha_may_be_anything_positive():
    wide = dataclasses.replace(DECODER, num_layers=1)
    model = adapted(build_model(wide), rank=11, alpha=0.5)
    assert model.decoder.blocks[0].feed_forward.inner.lora_kernel_a.shape == (8, 11)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_frozen_kernel_costs_no_gradient(recompute):
    """Of each kernel with an adapter, the backward pass has the gradients of A and B, and none of the size of W."""
    model = build_model(dataclasses.replace(DECODER, recompute=recompute, use_bias=False))
    add_adapters(model, 2, 16.0)
    adapters = [variable.value for variable in model.weights if is_adapter(variable.path)]

    @tf.function(autograph=False)
    def gradients(token_ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model.hidden_states(token_ids, training=True)))
        return tape.gradient(loss, adapters)

    graph = gradients.get_concrete_function(tf.TensorSpec([2, 4], tf.int32)).graph
    products = [op for op in graph.get_operations() if op.type == "MatMul" and op.get_attr("transpose_a")]
    assert len(products) == len(adapters) == 2 * 7 * 2
    assert all(2 in op.outputs[0].shape.as_list() for op in products)
