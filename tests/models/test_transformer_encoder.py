"""The encoder: every place sees all of its text and nothing of the padding."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.models import TransformerEncoderConfig

SMALL = TransformerEncoderConfig(
    vocab_size=29, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=24, max_length=16
)
CONFIGS = {
    "rotary": SMALL,
    "bert": dataclasses.replace(
        SMALL, norm="layer_norm", norm_position="post", positions="learned", activation="gelu", use_bias=True
    ),
    "albert": dataclasses.replace(
        SMALL,
        norm="layer_norm",
        norm_position="post",
        positions="learned",
        activation="gelu_exact",
        use_bias=True,
        embedding_norm=True,
        embedding_dim=8,
        shared_layers=True,
        output_bias=True,
        pooler=True,
    ),
    "relative": dataclasses.replace(SMALL, positions="relative", num_segments=0, head_transform=False),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request, make_model):
    return make_model(CONFIGS[request.param], scale=0.3)


def test_padding_changes_nothing(model, rng):
    token_ids = rng.integers(1, 29, [1, 6]).astype(np.int32)
    wide = np.pad(token_ids, [(0, 1), (0, 5)])
    wide[1] = rng.integers(1, 29, 11)
    alone = model.hidden_states(token_ids)
    np.testing.assert_allclose(model.hidden_states(wide)[:1, :6], alone, rtol=1e-4, atol=1e-5)


def test_every_place_sees_every_other(model, rng):
    token_ids = rng.integers(1, 29, [1, 6]).astype(np.int32)
    before = np.array(model.hidden_states(token_ids))
    for changed in range(6):
        other = token_ids.copy()
        other[0, changed] = token_ids[0, changed] % 28 + 1
        assert (np.abs(model.hidden_states(other) - before).max(-1) > 1e-6).all()


def test_shared_layers_are_one_layer_applied_again(make_model, rng):
    model = make_model(CONFIGS["albert"], scale=0.3)
    assert len(model.encoder.blocks) == 1 and len(list(model.adapted_layers())) == 6
    token_ids = rng.integers(1, 29, [1, 6]).astype(np.int32)
    assert model.embedding.embeddings.shape == (29, 8)
    assert model.encoder.embedding_projection.kernel.shape == (8, 16)
    once = make_model(dataclasses.replace(CONFIGS["albert"], num_layers=1), scale=0.3)
    for variable, value in zip(once.weights, model.weights, strict=True):
        variable.assign(value)
    states = once.hidden_states(token_ids)
    mask = np.ones([1, 1, 6], bool)
    expected, _ = model.encoder.blocks[0](states, mask)
    np.testing.assert_allclose(model.hidden_states(token_ids), expected, atol=1e-5)


def test_the_bias_of_the_tokens_and_the_pooler(make_model, rng):
    model = make_model(CONFIGS["albert"], scale=0.3)
    states = rng.normal(size=(2, 3, 16)).astype(np.float32)
    before = np.array(model.logits(states))
    model.output_bias.bias.assign_add(np.arange(29.0))
    np.testing.assert_allclose(model.logits(states), before + np.arange(29.0), rtol=1e-4, atol=1e-4)
    expected = np.tanh(states[:, 0] @ np.array(model.pooler.kernel) + np.array(model.pooler.bias))
    np.testing.assert_allclose(model.pooled(states), expected, atol=1e-5)
    assert not model.pooler.trainable_variables
    assert {layer.name for layer in model.output_layers()} == {
        "head_transform",
        "head_norm",
        "output_bias",
        "pooler",
    }


def test_a_narrow_embedding_without_a_head(make_model, rng):
    model = make_model(dataclasses.replace(CONFIGS["albert"], head_transform=False, output_bias=False))
    assert {variable.path.split("/")[0] for variable in model.weights} == {"transformer_encoder"}
    states = model.hidden_states(rng.integers(1, 29, [1, 6]).astype(np.int32))
    assert states.shape == (1, 6, 16)
    with pytest.raises(
        ValueError, match="no output layer: embedding_dim=8 apart from hidden_dim=16 needs head_tr"
    ):
        model.logits(states)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"embedding_dim": -1}, "embedding_dim is 0, for hidden_dim, or more; got -1"),
        (
            {"embedding_dim": 8, "tied_output": False},
            "embedding_dim=8 apart from hidden_dim=16 needs tied_output",
        ),
    ],
)
def test_refused_configs(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SMALL, **changes)


def test_the_transform_of_the_head(make_model, rng):
    model = make_model(CONFIGS["bert"], scale=0.3)
    states = rng.normal(size=(2, 3, 16)).astype(np.float32)
    inner = states @ np.array(model.transform.kernel) + np.array(model.transform.bias)
    inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    inner = (inner - inner.mean(-1, keepdims=True)) / np.sqrt(inner.var(-1, keepdims=True) + 1e-5)
    inner = inner * np.array(model.transform_norm.gamma) + np.array(model.transform_norm.beta)
    expected = inner @ np.array(model.embedding.embeddings).T
    np.testing.assert_allclose(model.logits(states), expected, rtol=1e-4, atol=1e-4)


def test_segments_are_told_apart(make_model, rng):
    model = make_model(SMALL, scale=0.3)
    token_ids = rng.integers(1, 29, [2, 5]).astype(np.int32)
    zeros, ones = np.zeros_like(token_ids), np.ones_like(token_ids)
    np.testing.assert_array_equal(
        model.hidden_states(token_ids), model.hidden_states(token_ids, segment_ids=zeros)
    )
    assert (
        np.abs(model.hidden_states(token_ids, segment_ids=ones) - model.hidden_states(token_ids)).max() > 1e-3
    )


def test_the_first_loss_is_near_that_of_chance(make_model, rng):
    model = make_model(dataclasses.replace(SMALL, vocab_size=500, hidden_dim=64))
    token_ids = rng.integers(1, 500, [4, 16]).astype(np.int32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids, model(token_ids))
    assert abs(float(tf.reduce_mean(loss)) - np.log(500)) < 0.3
