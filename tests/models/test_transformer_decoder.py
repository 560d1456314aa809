"""Sizes, initial weights, limits and messages of the Transformer decoder."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.models import TransformerDecoderConfig


def test_parameter_counts(configs, make_model):
    v, d, f, length = 29, 16, 24, 16
    attention, gated, plain = 4 * d * d, 3 * d * f, 2 * d * f
    block = attention + gated + 2 * d
    assert make_model(configs["rotary"]).num_parameters() == v * d + 2 * block + d
    # Two of four key/value heads of width 4; norms of queries and keys.
    grouped = 2 * d * d + 2 * d * 8 + 2 * 4 + gated + 2 * d
    assert make_model(configs["grouped"]).num_parameters() == v * d + 2 * grouped + d
    biased = 2 * d * d + 2 * d * 4 + (d + 4 + 4 + d) + gated + (f + f + d) + 2 * d
    assert make_model(configs["one_kv_head"]).num_parameters() == 2 * v * d + 2 * biased + d
    gpt2 = attention + 4 * d + plain + f + d + 4 * d
    assert make_model(configs["gpt2"]).num_parameters() == (v + length) * d + 2 * gpt2 + 2 * d
    # Post-norm has no norm at the end; sinusoidal positions are no parameters.
    assert make_model(configs["original"]).num_parameters() == v * d + 2 * (attention + plain + 4 * d)
    assert make_model(configs["post_rms"]).num_parameters() == (2 * v + length) * d + 2 * block


def test_widths_left_at_zero():
    config = TransformerDecoderConfig(hidden_dim=256, num_heads=8)
    assert config.head_dim == 32
    assert config.feed_forward_dim == 688  # 8/3 of 256 is 682.7; the next multiple of 8
    assert dataclasses.replace(config, activation="gelu").feed_forward_dim == 1024
    assert dataclasses.replace(config, intermediate_dim=100).feed_forward_dim == 100


def test_a_width_of_heads_of_its_own(make_model):
    config = TransformerDecoderConfig(
        vocab_size=29, num_layers=1, hidden_dim=15, num_heads=4, num_kv_heads=2, head_width=6
    )
    attention = make_model(config).decoder.blocks[0].attention
    assert config.head_dim == 6
    assert attention.query.kernel.shape == (15, 24) and attention.key.kernel.shape == (15, 12)
    assert attention.output_projection.kernel.shape == (24, 15)


def test_a_sliding_window_hides_what_is_before_it(rng, configs, make_model):
    """Through two layers a position sees twice the window less one; layer 1 sees all where it is named."""
    token_ids = rng.integers(1, 29, [1, 9]).astype(np.int32)
    other = token_ids.copy()
    other[0, 0] = token_ids[0, 0] % 28 + 1
    for whole, reach in (((), 4), ((1,), 8)):
        config = dataclasses.replace(configs["rotary"], sliding_window=3, full_attention_layers=whole)
        model = make_model(config, scale=0.3)
        changed = np.any(model(token_ids) != model(other), axis=-1)[0]
        assert changed.tolist() == [place <= reach for place in range(9)]


def test_caps_and_scale_of_the_output(rng, configs, make_model):
    token_ids = rng.integers(1, 29, [1, 5]).astype(np.int32)
    plain = make_model(configs["rotary"], scale=0.3)
    changed = make_model(dataclasses.replace(configs["rotary"], logit_cap=2.0, output_scale=0.5), scale=0.3)
    expected = 2.0 * np.tanh(0.5 * np.array(plain(token_ids)) / 2.0)
    np.testing.assert_allclose(changed(token_ids), expected, atol=1e-5)
    states = changed.hidden_states(token_ids)
    np.testing.assert_allclose(changed.last_logits(states[:, -1:]), expected[:, -1:], atol=1e-5)


def test_initial_weights(make_model):
    config = TransformerDecoderConfig(vocab_size=500, num_layers=8, hidden_dim=64, tied_output=False)
    model = make_model(config)
    block = model.decoder.blocks[3]
    expected = {
        block.attention.query: 64**-0.5,
        block.attention.value: 64**-0.5,
        block.feed_forward.gate: 64**-0.5,
        block.attention.output_projection: (64 * 16) ** -0.5,
        block.feed_forward.outer: (config.feed_forward_dim * 16) ** -0.5,
        model.head: 0.02,
    }
    for layer, deviation in expected.items():
        assert np.std(layer.kernel) == pytest.approx(deviation, rel=0.05), layer.path
    assert np.std(model.embedding.embeddings) == pytest.approx(0.02, rel=0.05)


def test_zero_residual_begins_as_the_embedding_alone(rng, configs, make_model):
    model = make_model(dataclasses.replace(configs["rotary"], zero_residual=True))
    token_ids = rng.integers(1, 29, [2, 5]).astype(np.int32)
    states = model.embedding(token_ids)
    np.testing.assert_allclose(model.hidden_states(token_ids), model.decoder.final_norm(states), atol=1e-5)


def test_dropout_acts_in_training_alone(rng, configs, make_model):
    model = make_model(dataclasses.replace(configs["rotary"], dropout=0.5))
    token_ids = rng.integers(1, 29, [2, 5]).astype(np.int32)
    np.testing.assert_array_equal(model(token_ids), model(token_ids))
    one, other = model(token_ids, training=True), model(token_ids, training=True)
    assert np.any(one != other)


@pytest.mark.parametrize("name", ["gpt2", "rotary", "original"])
def test_a_row_that_has_stopped_may_be_read_past_the_limit(configs, make_model, name):
    """Other rows run on; the numbers do not matter, but nothing fails."""
    model = make_model(configs[name])
    state = model.initial_state(1, configs[name].max_length)
    _, state = model.step(np.ones([1, configs[name].max_length], np.int32), state)
    logits, _ = model.step(np.ones([1, 1], np.int32), model.extend_state(state, 4))
    assert np.isfinite(logits).all()


def test_caches_have_the_compute_dtype(configs, make_model):
    state = make_model(configs["grouped"]).initial_state(2, 5)
    assert [key.shape for key in state["keys"]] == [(2, 2, 5, 4)] * 2
    assert state["values"][0].dtype == tf.float32


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"norm": "batch_norm"}, "norm is one of layer_norm, rms_norm; got 'batch_norm'"),
        ({"norm_position": "middle"}, "norm_position is one of pre, post, both; got 'middle'"),
        ({"positions": "alibi"}, "positions is one of rotary, learned, sinusoidal, relative; got 'alibi'"),
        (
            {"activation": "tanh"},
            "activation is one of gelu, gelu_exact, relu, relu_squared, swiglu, geglu; got",
        ),
        ({"num_heads": 3}, "num_heads divides hidden_dim; got 3 and 256"),
        ({"num_kv_heads": 3}, "num_kv_heads divides num_heads; got 3 and 4"),
        ({"num_kv_heads": -2}, "num_kv_heads divides num_heads; got -2 and 4"),
        ({"hidden_dim": 12}, "rotary positions need an even head_dim; got 3"),
        ({"hidden_dim": 15, "num_heads": 3, "positions": "sinusoidal"}, "need an even hidden_dim; got 15"),
        ({"num_heads": 0}, "num_heads is at least 1; got 0"),
        ({"num_layers": 0}, "num_layers is at least 1; got 0"),
        ({"hidden_dim": 0}, "hidden_dim is at least 1; got 0"),
        ({"max_length": 0}, "max_length is at least 1; got 0"),
        ({"head_width": 7}, "rotary positions need an even head_dim; got 7"),
        ({"rotary_scaling": "dynamic"}, "rotary_scaling is one of linear, llama3, yarn; got 'dynamic'"),
        ({"rotary_scaling": "linear", "rotary_factor": 0.0}, "rotary_factor is greater than 0; got 0.0"),
        ({"ngram_contexts": (2, 1)}, r"ngram_contexts are lengths .* in ascending order, .*; got \[2, 1\]"),
        ({"ngram_contexts": (0, 1)}, r"lengths from 1 on"),
        ({"ngram_cells": 1000}, "ngram_cells is a power of 2 from 512 to 2.30; got 1000"),
        ({"ngram_candidates": 0}, "ngram_candidates is at least 1; got 0"),
        ({"rotary_scaling": "yarn"}, "rotary_scaling=yarn needs rotary_original_length, .*; got 0"),
    ],
)
def test_refused_configs(changes, words):
    with pytest.raises(ValueError, match=words):
        TransformerDecoderConfig(**changes)


@pytest.mark.parametrize("name", ["rotary", "gpt2", "original", "relative", "counted"])
def test_documents_in_one_row_are_as_if_alone(rng, configs, make_model, name):
    model = make_model(configs[name], scale=0.3)
    token_ids = rng.integers(1, 29, [2, 11]).astype(np.int32)
    document_ids = np.array([[0] * 4 + [1] * 7, [0] * 1 + [1] * 8 + [2] * 2], np.int32)
    packed = np.array(model.hidden_states(token_ids, document_ids=document_ids))
    for row, documents in enumerate(document_ids):
        for document in np.unique(documents):
            places = np.flatnonzero(documents == document)
            alone = model.hidden_states(token_ids[row : row + 1, places])[0]
            np.testing.assert_allclose(packed[row, places], alone, rtol=1e-4, atol=1e-5)
