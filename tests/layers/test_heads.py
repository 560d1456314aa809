"""Heads: padding never reaches them, and each equals its formula."""

import numpy as np
import pytest

from tflm.layers import EmbeddingHead, PooledHead, SpanHead, TokenHead, pool

LENGTHS = [4, 1, 0, 3]


@pytest.fixture
def states(rng):
    return rng.normal(size=(4, 4, 6)).astype(np.float32)


@pytest.fixture
def mask():
    return np.arange(4)[None] < np.array(LENGTHS)[:, None]


@pytest.mark.parametrize(
    "pooling,expected",
    [
        ("first", lambda row, count: row[0]),
        ("last", lambda row, count: row[max(count - 1, 0)]),
        ("mean", lambda row, count: row[:count].mean(0) if count else np.zeros(6)),
        ("max", lambda row, count: row[:count].max(0) if count else np.zeros(6)),
    ],
)
def test_pooling(states, mask, pooling, expected):
    found = pool(states, mask, pooling)
    for row, count, vector in zip(states, LENGTHS, found, strict=True):
        np.testing.assert_allclose(vector, expected(row, count), rtol=1e-5, atol=1e-5)


def test_pooled_head(states, mask, randomize_layer):
    layer = PooledHead(3, "mean", dropout=0.5, hidden_layer=True)
    layer(states, mask)
    randomize_layer(layer)
    weights = {v.path.split("/", 1)[1]: np.array(v) for v in layer.trainable_variables}
    pooled = np.array(pool(states, mask, "mean"))
    hidden = np.tanh(pooled @ weights["hidden/kernel"] + weights["hidden/bias"])
    expected = hidden @ weights["output/kernel"] + weights["output/bias"]
    np.testing.assert_allclose(layer(states, mask), expected, rtol=1e-5, atol=1e-5)
    assert np.any(layer(states, mask, training=True) != layer(states, mask, training=True))


def test_an_unknown_pooling():
    with pytest.raises(ValueError, match="pooling is one of first, last, mean, max; got 'sum'"):
        PooledHead(2, "sum")


def test_token_head_is_one_product_a_token(states, mask, randomize_layer):
    layer = TokenHead(5)
    layer(states, mask)
    randomize_layer(layer)
    kernel, bias = (np.array(v) for v in layer.trainable_variables)
    np.testing.assert_allclose(layer(states, mask), states @ kernel + bias, rtol=1e-5, atol=1e-5)


def test_a_span_neither_begins_nor_ends_in_padding(states, mask, randomize_layer):
    layer = SpanHead()
    layer(states, mask)
    randomize_layer(layer)
    logits = np.array(layer(states, mask))
    assert logits.shape == (4, 4, 2)
    assert (logits[~mask] == -1e9).all() and (np.abs(logits[mask]) < 100).all()


@pytest.mark.parametrize("width", [0, 3])
def test_embeddings_have_length_one_and_do_not_see_padding(states, mask, rng, randomize_layer, width):
    layer = EmbeddingHead(width)
    layer(states, mask)
    randomize_layer(layer)
    vectors = np.array(layer(states, mask))
    assert vectors.shape == (4, width or 6)
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 1, 3]], axis=1), 1.0, rtol=1e-5)
    changed = np.where(mask[:, :, None], states, 7.0).astype(np.float32)
    np.testing.assert_array_equal(layer(changed, mask), vectors)
    wider = np.pad(states, [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
    wide = layer(wider, np.pad(mask, [(0, 0), (0, 3)]))
    np.testing.assert_allclose(wide, vectors, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "last", "mean", "max"])
def test_embeddings_of_another_pooling_with_and_without_length_one(states, mask, pooling):
    pooled = np.array(pool(states, mask, pooling))[[0, 1, 3]]
    raw = np.array(EmbeddingHead(pooling=pooling, normalize=False)(states, mask))[[0, 1, 3]]
    np.testing.assert_allclose(raw, pooled, rtol=1e-6)
    unit = np.array(EmbeddingHead(pooling=pooling)(states, mask))[[0, 1, 3]]
    np.testing.assert_allclose(unit, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), rtol=1e-5)


def test_an_unknown_pooling_of_embeddings():
    with pytest.raises(ValueError, match="pooling is one of first, last, mean, max; got 'cls'"):
        EmbeddingHead(pooling="cls")
