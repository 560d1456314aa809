"""A seed for each batch number, the same at every resumption, new in every epoch of training."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import PackedBatches
from tflm.data.batching.mapped_batches import MappedBatches

SPEC = {"token_ids": tf.TensorSpec([2, 4], tf.int32), "seed": tf.TensorSpec([2], tf.int64)}


def with_seed(batch, seed):
    draw = tf.random.stateless_uniform(tf.shape(batch["token_ids"]), seed)
    return {"token_ids": tf.where(draw < 0.5, 0, batch["token_ids"]), "seed": seed}


@pytest.fixture
def make(make_store):
    store = make_store([list(range(100, 137))])

    def make_batches(training, seed=7):
        return MappedBatches(PackedBatches(store, 4, 2, seed, training), with_seed, SPEC)

    return make_batches


def numpy_batches(dataset, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset.take(count)]


def test_each_batch_has_a_seed_of_its_own(make):
    batches = make(training=True)
    assert batches.batches_per_epoch == 4
    assert batches.element_spec == SPEC
    seeds = {tuple(batch["seed"]) for batch in numpy_batches(batches.dataset(), 40)}
    assert len(seeds) == 40
    other = {tuple(batch["seed"]) for batch in numpy_batches(make(True, seed=8).dataset(), 40)}
    assert not seeds & other


def test_the_seeds_are_not_those_of_the_order(make):
    batches = make(training=True)
    own = {
        tuple(batches._epoch_seed(tf.constant(n, tf.int64), p).numpy()) for n in range(9) for p in range(4)
    }
    assert not own & {tuple(batch["seed"]) for batch in numpy_batches(batches.dataset(), 36)}


def test_any_batch_is_the_same_however_it_is_reached(make):
    batches = make(training=True)
    whole = numpy_batches(batches.dataset(), 12)
    for start in (1, 5, 11):
        for expected, found in zip(
            whole[start:], numpy_batches(batches.dataset(start), 12 - start), strict=True
        ):
            np.testing.assert_equal(found, expected)
    iterator = batches.iterator()
    list(itertools.islice(iterator, 5))
    again = make(training=True).iterator()
    again.restore(iterator.state())
    np.testing.assert_equal({k: v.numpy() for k, v in next(again).items()}, whole[5])


def test_an_evaluation_is_one_pass_and_always_the_same(make):
    first, second = (numpy_batches(make(training=False).dataset(), 99) for _ in range(2))
    assert len(first) == 5
    np.testing.assert_equal(first, second)
