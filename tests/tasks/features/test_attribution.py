"""Attributions of plain functions: their exact values, rows in blocks, and Captum's (Kokhlikyan et al., 2020)."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.serving.handle import explaining_methods
from tflm.tasks.features import attribution


def test_the_client_knows_the_methods():
    assert explaining_methods.METHODS == attribution.METHODS
    assert explaining_methods.MOST_STEPS == attribution.MOST_STEPS


def test_more_rows_than_a_block(monkeypatch):
    """A linear score has its weights as attributions, by every method; what is no input has none."""
    monkeypatch.setattr(attribution, "_BLOCK", 3)
    weights = tf.constant(np.random.default_rng(0).normal(size=(7, 5)), tf.float32)
    method = tf.constant(["occlusion", "gradient_x_input", "integrated_gradients"] * 2 + ["occlusion"])

    @tf.function(autograph=False)
    def run():
        def score(scales, rows):
            return tf.reduce_sum(scales * tf.gather(weights, rows), axis=1)

        return attribution.attribute_rows(score, weights > -0.5, method, tf.fill([7], 4))

    found = run()
    expected = np.where(weights > -0.5, weights, 0.0)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    np.testing.assert_allclose(found.scores - found.baseline_scores, expected.sum(1), atol=1e-5)


def test_log_odds():
    logits = np.array([[1.0, -2.0, 0.5], [60.0, 0.0, -60.0]], np.float32)
    found = attribution.log_odds(tf.constant(logits), tf.constant([2, 0])).numpy()
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert found[0] == pytest.approx(np.log(shares[2] / (1 - shares[2])), rel=1e-5)
    assert found[1] == pytest.approx(60.0, rel=1e-5), "1 - p is 0 in float32"


def test_captum_gives_the_same():
    torch = pytest.importorskip(
        "torch", reason="PyTorch is not installed; to test it: pip install torch captum"
    )
    captum = pytest.importorskip(
        "captum.attr", reason="Captum is not installed; to test it: pip install captum"
    )
    rng = np.random.default_rng(0)
    embedded, first, second = (rng.normal(size=s).astype(np.float32) for s in ((2, 5, 4), (4, 6), (6, 3)))

    def score(scales, rows):
        states = tf.gather(tf.constant(embedded), rows) * scales[:, :, None]
        logits = tf.reduce_mean(tf.tanh(states @ first), axis=1) @ second
        return attribution.log_odds(logits, tf.zeros_like(rows))

    def forward(states):
        logits = torch.tanh(states @ torch.tensor(first)).mean(1) @ torch.tensor(second)
        return logits[:, 0] - torch.logsumexp(logits[:, 1:], 1)

    inputs = torch.tensor(embedded, requires_grad=True)
    tokens = torch.arange(5)[None, :, None].expand(2, 5, 4)
    expected = {
        "gradient_x_input": captum.InputXGradient(forward).attribute(inputs).sum(-1),
        "integrated_gradients": captum.IntegratedGradients(forward).attribute(inputs, n_steps=200).sum(-1),
        "occlusion": captum.FeatureAblation(forward).attribute(inputs, feature_mask=tokens)[:, :, 0],
    }
    for method, values in expected.items():
        found = attribution.attribute_rows(
            score, tf.ones([2, 5], tf.bool), tf.fill([2], method), tf.fill([2], 200)
        )
        np.testing.assert_allclose(found.values, values.detach().numpy(), rtol=1e-3, atol=1e-4)
