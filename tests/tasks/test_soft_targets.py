"""Soft targets against the formula in NumPy; sliced against whole; nothing flows into the teacher."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks import losses
from tflm.tasks.soft_targets import SoftTargets, divergence

RNG = np.random.default_rng(3)
LOGITS, TEACHER = RNG.normal(size=(2, 4, 7)).astype(np.float32) * 3


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def expected(ours, theirs, temperature):
    p, q = softmax(theirs / temperature), softmax(ours / temperature)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence(temperature):
    found = divergence(LOGITS, TEACHER, temperature)
    np.testing.assert_allclose(found, expected(LOGITS, TEACHER, temperature), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(divergence(LOGITS, LOGITS, temperature), np.zeros(4), atol=1e-5)


def test_of_several_labels_each_is_a_probability():
    p, q = (1 / (1 + np.exp(-logits / 2.0)) for logits in (TEACHER, LOGITS))
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(divergence(LOGITS, TEACHER, 2.0, several=True), 4.0 * each.sum(-1), rtol=1e-3)


def test_the_mixture_has_both_losses_and_no_gradient_of_the_teacher():
    ours, theirs, hard = tf.Variable(LOGITS), tf.Variable(TEACHER), tf.constant([1.0, 2.0, 3.0, 4.0])
    soft = SoftTargets(None, temperature=2.0, alpha=0.25)
    with tf.GradientTape() as tape:
        mixed = soft.mixed(hard, ours, theirs)
    np.testing.assert_allclose(mixed, 0.75 * hard + 0.25 * expected(LOGITS, TEACHER, 2.0), rtol=1e-4)
    to_student, to_teacher = tape.gradient(mixed, [ours, theirs])
    assert to_teacher is None
    # d KL / d z = (q - p) / T, and the factor T² of the loss: T (q - p).
    difference = softmax(LOGITS / 2.0) - softmax(TEACHER / 2.0)
    np.testing.assert_allclose(to_student, 0.25 * 2.0 * difference, rtol=1e-3, atol=1e-5)


def test_with_alpha_0_it_is_the_hard_loss_bit_for_bit():
    hard = tf.constant(RNG.normal(size=4), tf.float32)
    mixed = SoftTargets(None, temperature=3.0, alpha=0.0).mixed(hard, LOGITS, TEACHER)
    np.testing.assert_array_equal(mixed, hard)


@pytest.mark.parametrize("compact", [False, True])
def test_over_a_vocabulary_it_is_computed_in_slices(make_model, monkeypatch, compact):
    vocab_size, rows, length = 29, 3, 5
    model, teacher = make_model(vocab_size), make_model(vocab_size)
    for variable in teacher.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape) * 0.3)
    token_ids = tf.constant(RNG.integers(1, vocab_size, [rows, length]), tf.int32)
    targets = tf.constant(RNG.integers(1, vocab_size, [rows, length]), tf.int32)
    weights = tf.constant(RNG.choice([0.0, 1.0, 0.5], [rows, length]), tf.float32)
    soft = SoftTargets(teacher, temperature=2.0, alpha=0.5)
    values = [variable.value for variable in model.trainable_variables]

    def found(soft):
        with tf.GradientTape() as tape:
            states, theirs = model.hidden_states(token_ids), teacher.hidden_states(token_ids)
            loss, _ = losses.token_cross_entropy(
                model, states, targets, weights, compact, training=True, soft=soft, teacher_states=theirs
            )
        return loss, [tf.convert_to_tensor(each) for each in tape.gradient(loss, values)]

    whole, gradients = found(soft)
    hard, _ = found(dataclasses.replace(soft, alpha=0.0))
    divergences = expected(model(token_ids).numpy(), teacher(token_ids).numpy(), 2.0)
    wanted = 0.5 * float(hard) + 0.5 * float((divergences * weights.numpy()).sum())
    assert float(whole) == pytest.approx(wanted, rel=1e-4)
    monkeypatch.setattr(losses, "_TRAINING_SLICE", 4 * vocab_size)
    sliced, sliced_gradients = found(soft)
    assert float(sliced) == pytest.approx(float(whole), rel=1e-5)
    for one, other in zip(gradients, sliced_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
