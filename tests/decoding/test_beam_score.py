"""Scores by hand; the bound is reached by some text and passed by none."""

import numpy as np
import tensorflow as tf

from tests.decoding.beams_slowly import score_of
from tflm.decoding.beam_score import best_possible_score, score_at_length


def test_the_examples_of_the_documentation():
    found = score_at_length(
        tf.constant([[-6.0]] * 3), 4, tf.constant([1.0, 0.5, 1.0]), tf.constant([0.0, 0.0, 5.0])
    )
    np.testing.assert_allclose(found, [[-1.5], [-3.0], [-4.0]])
    found = best_possible_score(
        tf.constant([[-6.0]] * 2),
        tf.constant(2),
        tf.constant([6, 6]),
        tf.constant([1.0, -1.0]),
        tf.zeros([2]),
    )
    np.testing.assert_allclose(found, [[-1.0], [-18.0]])


def test_wu_et_al():
    """Equation 14: log P / ((5 + |Y|) ** alpha / (5 + 1) ** alpha)."""
    found = score_at_length(tf.constant([[-7.0]]), tf.constant([9]), tf.constant([0.6]), tf.constant([5.0]))
    np.testing.assert_allclose(found, [[-7.0 / ((5 + 9) ** 0.6 / (5 + 1) ** 0.6)]], rtol=1e-6)


def test_the_bound_is_the_best_of_all_lengths():
    penalties, offsets = np.meshgrid([-2.0, -0.5, 0.0, 0.6, 1.0, 2.0], [0.0, 5.0])
    penalties, offsets = penalties.ravel(), offsets.ravel()
    found = best_possible_score(
        tf.fill([12, 1], -3.0),
        tf.constant(4),
        tf.fill([12], 9),
        tf.constant(penalties, tf.float32),
        tf.constant(offsets, tf.float32),
    )
    expected = [
        max(score_of(-3.0, length, penalty, offset) for length in range(5, 10))
        for penalty, offset in zip(penalties, offsets)
    ]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_extreme_settings_stay_finite():
    found = score_at_length(
        tf.constant([[-50.0, 0.0]] * 4),
        tf.constant([1, 1000, 1000, 1000]),
        tf.constant([100.0, 100.0, -100.0, 100.0]),
        tf.constant([0.0, 0.0, 0.0, 1e6]),
    )
    assert np.isfinite(found).all()
