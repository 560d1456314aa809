"""Masks by magnitude: the schedule of Zhu and Gupta (2017), what is chosen, the pattern N:M."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.compression import MagnitudePruning, PruningConfig
from tflm.compression.magnitude import magnitude_mask, pattern_mask, prunable, sparsity
from tflm.errors import UserError
from tflm.models import LSTMConfig, TransformerEncoderConfig, build_model

RNG = np.random.default_rng(1)


def test_the_schedule_is_the_cubic_one():
    # s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n Δt))³ with s_i = 0.
    for step in range(10, 31):
        wanted = 0.8 + (0.0 - 0.8) * (1.0 - (step - 10) / 20.0) ** 3
        assert sparsity(step, 0.8, begin=10, end=30) == pytest.approx(wanted)
    assert sparsity(9, 0.8, 10, 30) == 0.0
    assert sparsity(31, 0.8, 10, 30) == 0.8


def test_the_smallest_weights_are_pruned_and_stay_pruned():
    weights = RNG.normal(size=(6, 10))
    first = magnitude_mask(weights, np.ones((6, 10), bool), 0.3)
    assert np.count_nonzero(~first) == 18
    assert np.abs(weights[~first]).max() < np.abs(weights[first]).min()
    grown = np.where(first, weights, 100.0)  # whatever became of them
    second = magnitude_mask(grown, first, 0.5)
    assert np.count_nonzero(~second) == 30
    assert not second[~first].any()


def test_weights_of_one_size_are_pruned_to_the_same_share():
    mask = magnitude_mask(np.zeros((4, 5)), np.ones((4, 5), bool), 0.5)
    assert np.count_nonzero(mask) == 10


def test_the_pattern_keeps_the_largest_of_each_group_of_inputs():
    weights = RNG.normal(size=(8, 3))
    mask = pattern_mask(weights, keep=2, group=4)
    for column in range(3):
        for first in (0, 4):
            group = np.abs(weights[first : first + 4, column])
            assert set(np.flatnonzero(mask[first : first + 4, column])) == set(np.argsort(-group)[:2])


@pytest.fixture(scope="module")
def encoder():
    model = build_model(
        TransformerEncoderConfig(vocab_size=11, num_layers=2, hidden_dim=8, num_heads=2, max_length=8)
    )
    return model


def test_kernels_inside_layers_are_pruned_and_nothing_else(encoder):
    names = {variable.path.partition("/encoder/")[2] for variable in prunable(encoder)}
    assert "block_1/attention/output/kernel" in names and "block_0/feed_forward/gate/kernel" in names
    assert len(names) == len(prunable(encoder)) == 2 * 7
    lstm = build_model(LSTMConfig(vocab_size=11, num_layers=1, hidden_dim=8, max_length=8))
    assert {variable.path.rpartition("/")[2] for variable in prunable(lstm)} == {"kernel", "recurrent_kernel"}


def test_updates_and_pauses(encoder):
    before = [np.asarray(weight) for weight in encoder.weights]
    pruning = MagnitudePruning(encoder, PruningConfig("runs/a", share=0.5, begin=0.2, end=0.8, every=4), 20)
    assert [pruning.steps_until_update(step) for step in (0, 3, 4, 5, 14, 15, 16, 17)] == [
        4, 1, 4, 3, 2, 1, None, None,
    ]  # fmt: skip
    assert pruning.update(3) == pruning.update(4) == pruning.update(5) == ""
    assert all(mask.numpy().all() for mask in pruning.variables.values())
    assert pruning.update(8) == ""
    kernels = prunable(encoder)
    wanted = sparsity(8, 0.5, 4, 16)
    assert [np.mean(np.asarray(kernel) == 0.0) for kernel in kernels] == pytest.approx(
        [wanted] * 14, abs=0.02
    )
    assert "step 16: " in (line := pruning.update(16)) and "(50.0%)" in line
    gradients = [tf.ones(kernel.shape) for kernel in kernels]
    masked = pruning.mask_gradients(gradients, kernels)
    for kernel, gradient in zip(kernels, masked, strict=True):
        np.testing.assert_array_equal(np.asarray(kernel) == 0.0, gradient.numpy() == 0.0)
        kernel.assign(np.ones(kernel.shape))  # what an optimizer may do
    pruning.apply()
    for kernel, gradient in zip(kernels, masked, strict=True):
        np.testing.assert_array_equal(np.asarray(kernel), gradient)
    for weight, value in zip(encoder.weights, before, strict=True):
        weight.assign(value)


def test_a_pattern_is_pruned_at_once_and_needs_multiples(encoder):
    before = [np.asarray(weight) for weight in encoder.weights]
    config = PruningConfig("runs/a", structure=("2:4",))
    pruning = MagnitudePruning(encoder, config, 20)
    assert "(50.0%)" in pruning.update(0)
    assert pruning.steps_until_update(0) is None
    for kernel in prunable(encoder):
        groups = np.asarray(kernel).reshape(-1, 4, kernel.shape[1])
        assert (np.count_nonzero(groups, axis=1) == 2).all()
    for weight, value in zip(encoder.weights, before, strict=True):
        weight.assign(value)
    with pytest.raises(UserError, match=r"'1:3': the 8 inputs of .*query/kernel are no multiple of 3"):
        MagnitudePruning(encoder, PruningConfig("runs/a", structure=("1:3",), share=2 / 3), 20)


def test_a_model_without_layers_has_nothing_to_prune():
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    model = types.SimpleNamespace(
        weights=layer.weights, trainable_variables=layer.trainable_variables, layer_groups=(), name="m"
    )
    with pytest.raises(UserError, match="nothing to prune"):
        MagnitudePruning(model, PruningConfig("runs/a"), 20)
