"""Cross entropy against NumPy; the compact way against the whole one, gradients too."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks import losses
from tflm.tasks.losses import token_cross_entropy
from tflm.tasks.signatures import score
from tflm.text import TokenizerConfig
from tflm.text.byte_tokenizer import ByteTokenizer

V, B, T = 29, 3, 5


@pytest.fixture
def case(make_model):
    rng = np.random.default_rng(5)
    model = make_model(V)
    token_ids = tf.constant(rng.integers(1, V, [B, T]), tf.int32)
    targets = tf.constant(rng.integers(1, V, [B, T]), tf.int32)
    weights = rng.choice([0.0, 0.0, 1.0, 0.5], [B, T]).astype(np.float32)
    weights[1] = 0.0
    return model, token_ids, targets, tf.constant(weights)


def loss_and_gradients(case, compact, **options):
    model, token_ids, targets, weights = case
    with tf.GradientTape() as tape:
        states = model.hidden_states(token_ids)
        total, weight = token_cross_entropy(model, states, targets, weights, compact, **options)
    values = [v.value for v in model.trainable_variables]
    return total, weight, [tf.convert_to_tensor(g) for g in tape.gradient(total, values)]


@pytest.mark.parametrize("compact", [False, True])
def test_against_numpy(case, compact):
    model, token_ids, targets, weights = case
    total, weight, _ = loss_and_gradients(case, compact)
    logits = model(token_ids).numpy().astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows, places = np.indices((B, T))
    expected = -(log_shares[rows, places, targets] * weights.numpy()).sum()
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(weight) == pytest.approx(weights.numpy().sum())
    assert total.dtype == weight.dtype == tf.float32


@pytest.mark.parametrize("compact", [False, True])
def test_z_loss_against_numpy(case, compact):
    """The squared logarithm of the denominator is added where a target counts."""
    model, token_ids, _, weights = case
    plain, with_z = (loss_and_gradients(case, compact, z_loss=z_loss) for z_loss in (0.0, 0.25))
    denominators = np.log(np.exp(model(token_ids).numpy().astype(np.float64)).sum(-1))
    expected = float(plain[0]) + 0.25 * (denominators**2 * weights.numpy()).sum()
    assert float(with_z[0]) == pytest.approx(expected, rel=1e-5)
    assert float(with_z[1]) == float(plain[1])
    assert any(np.any(np.abs(a - b) > 1e-4) for a, b in zip(plain[2], with_z[2], strict=True))


def test_compact_equals_whole(case):
    whole, compact = loss_and_gradients(case, False), loss_and_gradients(case, True)
    assert float(whole[0]) == pytest.approx(float(compact[0]), rel=1e-5)
    assert float(whole[1]) == float(compact[1])
    for one, other in zip(whole[2], compact[2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert any(np.any(gradient) for gradient in whole[2])


@pytest.mark.parametrize("compact", [False, True])
def test_nothing_to_learn(case, compact):
    model, token_ids, targets, weights = case
    empty = (model, token_ids, targets, tf.zeros_like(weights))
    total, weight, gradients = loss_and_gradients(empty, compact)
    assert float(total) == float(weight) == 0.0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, tf.zeros_like(gradient))


def test_compact_in_a_graph(case):
    graph = tf.function(lambda: loss_and_gradients(case, True))()
    for one, other in zip(graph[2], loss_and_gradients(case, False)[2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("compact", [False, True])
def test_a_large_vocabulary_in_slices(case, compact, monkeypatch):
    model, token_ids, targets, weights = case
    states = model.hidden_states(token_ids)
    whole = token_cross_entropy(model, states, targets, weights, compact)
    rows = []
    logits = model.logits
    monkeypatch.setattr(losses, "LARGE_VOCABULARY", V)
    monkeypatch.setattr(losses, "_SLICE", 4 * V)
    monkeypatch.setattr(model, "logits", lambda states: rows.append(len(states)) or logits(states))
    sliced = token_cross_entropy(model, states, targets, weights, compact)
    assert float(sliced[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    assert float(sliced[1]) == float(whole[1])
    count = np.count_nonzero(weights) if compact else B * T
    assert rows == [min(4, count - first) for first in range(0, count, 4)]


@pytest.mark.parametrize("way", ["eager", "graph", "xla"])
@pytest.mark.parametrize(
    "compact,options",
    [(False, {}), (True, {}), (False, {"label_smoothing": 0.1, "z_loss": 0.1})],
    ids=["whole", "compact", "smoothed"],
)
def test_loss_and_gradient_in_slices_are_those_of_the_whole(case, monkeypatch, way, compact, options):
    if way == "xla" and compact:
        pytest.skip("XLA does not know how many targets count")
    whole = loss_and_gradients(case, compact, **options)
    rows, logits = [], case[0].logits
    monkeypatch.setattr(losses, "_TRAINING_SLICE", 4 * V)
    monkeypatch.setattr(case[0], "logits", lambda states: rows.append(states.shape[0]) or logits(states))

    def sliced():
        return loss_and_gradients(case, compact, training=True, **options)

    found = sliced() if way == "eager" else tf.function(sliced, jit_compile=way == "xla")()
    assert float(found[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    assert float(found[1]) == float(whole[1])
    for one, other in zip(whole[2], found[2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(rows) > 1 and max(row or 0 for row in rows) <= 4


def test_r_drop_against_numpy_and_in_slices(case, monkeypatch):
    """0.5 (L(p) + L(q)) + r * 0.5 (KL(p, q) + KL(q, p)), where p and q are of two passes."""
    model, token_ids, targets, weights = case

    def of_two_passes(training):
        with tf.GradientTape() as tape:
            states, other = model.hidden_states(token_ids), model.hidden_states(token_ids[:, ::-1])
            total, _ = token_cross_entropy(
                model, states, targets, weights, False, training=training, other_states=other, r_drop=3.0
            )
        values = [v.value for v in model.trainable_variables]
        return total, [tf.convert_to_tensor(g) for g in tape.gradient(total, values)]

    p, q = (
        logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        for logits in (model(ids).numpy().astype(np.float64) for ids in (token_ids, token_ids[:, ::-1]))
    )
    rows, places = np.indices((B, T))
    losses_of_both = -0.5 * (p[rows, places, targets] + q[rows, places, targets])
    divergences = 0.5 * ((np.exp(p) - np.exp(q)) * (p - q)).sum(-1)
    expected = ((losses_of_both + 3.0 * divergences) * weights.numpy()).sum()
    whole = of_two_passes(False)
    assert float(whole[0]) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(losses, "_TRAINING_SLICE", 4 * V)
    sliced = of_two_passes(True)
    assert float(sliced[0]) == pytest.approx(expected, rel=1e-5)
    for one, other in zip(whole[1], sliced[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_task_trains_in_slices(case, monkeypatch, language_modeling):
    model, token_ids, targets, weights = case
    rows, logits = [], model.logits
    monkeypatch.setattr(losses, "_TRAINING_SLICE", 4 * V)
    monkeypatch.setattr(model, "logits", lambda states: rows.append(len(states)) or logits(states))
    task = language_modeling(ByteTokenizer(TokenizerConfig(kind="byte")))
    batch = {"token_ids": token_ids, "targets": targets, "loss_weights": weights}
    in_training, evaluated = (float(task.loss(model, batch, training)[0]) for training in (True, False))
    assert in_training == pytest.approx(evaluated, rel=1e-5)
    assert max(rows[:-1]) <= 4 and rows[-1] == B * T


def test_frozen_variables_get_no_gradient_in_slices(case, monkeypatch):
    monkeypatch.setattr(losses, "_TRAINING_SLICE", 4 * V)
    model, token_ids, targets, weights = case
    model.embedding.trainable = False
    with tf.GradientTape() as tape:
        states = model.hidden_states(token_ids)
        total, _ = token_cross_entropy(model, states, targets, weights, False, training=True)
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    assert len(gradients) > 3 and all(gradient is not None for gradient in gradients)


def test_scores_of_a_large_vocabulary_are_the_same(case, monkeypatch):
    model, token_ids, _, _ = case
    whole = score._losses(model, token_ids, {})
    rows, logits = [], model.logits
    monkeypatch.setattr(score, "LARGE_VOCABULARY", V)
    monkeypatch.setattr(losses, "_SLICE", 4 * V)
    monkeypatch.setattr(model, "logits", lambda states: rows.append(len(states)) or logits(states))
    np.testing.assert_allclose(score._losses(model, token_ids, {}), whole, rtol=1e-5)
    assert rows == [4, 4, 4]  # of three texts with four tokens after the first
