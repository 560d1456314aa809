"""Dropout by the masks of a training step; what `RowMasks` draws is in tests/training/test_dropout_masks.py."""

import keras
import numpy as np
import pytest
from keras import ops

from tflm.errors import UserError
from tflm.layers import Dropout, drawing_masks, drawing_masks_again, drawing_part


class CountedMasks:
    """The first half of each mask is kept; notes what was asked for."""

    def __init__(self, asked, prefix=""):
        self.asked, self.prefix, self.count = asked, prefix, 0

    def next_number(self):
        self.count += 1
        return self.count

    def part(self, number):
        return CountedMasks(self.asked, f"{self.prefix}{number}.")

    def uniform(self, number, shape):
        self.asked.append((f"{self.prefix}{number}", tuple(shape)))
        size = int(np.prod(shape))
        return ops.reshape(ops.cast(ops.arange(size) < size // 2, "float32"), shape)


@pytest.fixture
def masks():
    return CountedMasks([])


def test_it_zeroes_and_scales_by_the_masks(masks):
    layer = Dropout(0.2)
    with drawing_masks(masks):
        outputs = np.array(layer(np.ones([2, 3, 4], np.float32), training=True))
    np.testing.assert_allclose(outputs[0], 1.25, rtol=1e-6)
    assert (outputs[1] == 0.0).all() and masks.asked == [("1", (2, 3, 4))]


def test_one_draw_along_an_axis(masks):
    layer = Dropout(0.5, noise_shape=(None, None, 1))
    with drawing_masks(masks):
        outputs = np.array(layer(np.ones([2, 2, 3], np.float32), training=True))
    assert masks.asked == [("1", (2, 2, 1))]
    assert outputs.tolist() == [[[2.0] * 3] * 2, [[0.0] * 3] * 2]


@pytest.mark.parametrize("rate, training", [(0.0, True), (0.5, False)])
def test_nothing_is_drawn_without_need(masks, rate, training):
    inputs = np.ones([2, 3], np.float32)
    with drawing_masks(masks):
        assert (np.array(Dropout(rate)(inputs, training=training)) == inputs).all()
    assert masks.asked == []


def test_each_call_of_a_layer_has_its_own_number(masks):
    layer, inputs = Dropout(0.5), np.ones([2, 3], np.float32)
    with drawing_masks(masks):
        layer(inputs, training=True)
        Dropout(0.5)(inputs, training=True)
        layer(inputs, training=True)
    assert [number for number, _ in masks.asked] == ["1", "2", "3"]


def test_what_is_computed_again_draws_the_same(masks):
    layer, inputs = Dropout(0.5), np.ones([2, 3], np.float32)

    def block(x):
        return layer(layer(x, training=True), training=True)

    with drawing_masks(masks):
        first, second = (drawing_masks_again(block, has_dropout=True) for _ in range(2))
        first(inputs)
        second(inputs)
    first(inputs)  # in the backward pass, which is outside of the block
    assert [number for number, _ in masks.asked] == ["1.1", "1.2", "2.1", "2.2", "1.1", "1.2"]


def test_a_part_is_numbered_as_what_is_computed_again(masks):
    layer, inputs = Dropout(0.5), np.ones([2, 3], np.float32)
    with drawing_masks(masks):
        with drawing_part():
            layer(inputs, training=True)
        layer(inputs, training=True)
    assert [number for number, _ in masks.asked] == ["1.1", "2"]


def test_dropout_that_is_computed_again_needs_masks():
    def block(x):
        return x

    assert drawing_masks_again(block, has_dropout=False) is block
    with pytest.raises(UserError, match=r"needs training.dropout_masks=per_example"):
        drawing_masks_again(block, has_dropout=True)


def test_without_masks_it_is_the_layer_of_keras():
    inputs = np.ones([8, 16], np.float32)
    own, of_keras = Dropout(0.3, seed=5), keras.layers.Dropout(0.3, seed=5)
    for _ in range(2):
        np.testing.assert_array_equal(
            np.array(own(inputs, training=True)), np.array(of_keras(inputs, training=True))
        )
