import numpy as np
import pytest

from tflm.data import PackedBatches
from tflm.errors import UserError


def numpy_batches(batches, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.dataset().take(count)]


def test_evaluation_by_hand(make_store):
    store = make_store([[5, 6, 2], [7, 8, 9, 2]])
    [first, second] = numpy_batches(PackedBatches(store, 2, 2, 0, training=False), 9)
    np.testing.assert_array_equal(first["token_ids"], [[5, 6], [2, 7]])
    np.testing.assert_array_equal(first["targets"], [[6, 2], [7, 8]])
    np.testing.assert_array_equal(first["loss_weights"], [[1, 1], [1, 1]])
    np.testing.assert_array_equal(second["token_ids"], [[8, 9], [0, 0]])
    np.testing.assert_array_equal(second["targets"], [[9, 2], [0, 0]])
    np.testing.assert_array_equal(second["loss_weights"], [[1, 1], [0, 0]])


@pytest.mark.parametrize("num_tokens", [2, 9, 10, 11, 12, 13, 37])
@pytest.mark.parametrize("block_length", [1, 3, 50])
def test_evaluation_predicts_each_token_but_the_first_once(make_store, num_tokens, block_length):
    stream = np.arange(100, 100 + num_tokens)
    batches = PackedBatches(make_store([list(stream)]), block_length, 4, 0, training=False)
    real = numpy_batches(batches, 1000)
    assert len(real) == batches.batches_per_epoch
    weights = np.concatenate([batch["loss_weights"].ravel() for batch in real]).astype(bool)
    targets = np.concatenate([batch["targets"].ravel() for batch in real])
    inputs = np.concatenate([batch["token_ids"].ravel() for batch in real])
    np.testing.assert_array_equal(targets[weights], stream[1:])
    np.testing.assert_array_equal(inputs[weights], stream[:-1])
    assert not targets[~weights].any()


def test_a_training_epoch_is_the_circle_cut_at_another_place(make_store):
    num_tokens, length, batch_size = 53, 4, 13  # 13 blocks in one batch: an epoch is a batch
    store = make_store([list(range(100, 100 + num_tokens))])
    batches = PackedBatches(store, length, batch_size, 1, training=True)
    assert batches.batches_per_epoch == 1
    phases, orders = set(), set()
    for batch in numpy_batches(batches, 20):
        assert (batch["loss_weights"] == 1).all()
        tokens, targets = batch["token_ids"] - 100, batch["targets"] - 100
        np.testing.assert_array_equal(targets, (tokens + 1) % num_tokens)
        np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
        assert len(np.unique(tokens)) == num_tokens - 1  # all but 53 mod 4 tokens, none twice
        left_out = set(range(num_tokens)) - set(tokens.ravel())
        phases |= left_out
        orders.add(tuple(np.argsort((tokens[:, 0] - max(left_out)) % num_tokens)))
    assert len(phases) > 10
    assert len(orders) > 10


def test_blocks_of_an_epoch_do_not_repeat_over_batches(make_store):
    store = make_store([list(range(1000))])
    batches = PackedBatches(store, 10, 8, 2, training=True)
    assert batches.batches_per_epoch == 12
    for epoch in range(3):
        starts = [
            start
            for batch in batches.dataset(epoch * 12).take(12)
            for start in batch["token_ids"].numpy()[:, 0]
        ]
        assert len(set(starts)) == 96
        assert len({start % 10 for start in starts}) == 1  # one phase in an epoch


def test_fewer_blocks_than_rows_repeat(make_store):
    [batch] = numpy_batches(PackedBatches(make_store([[5, 6, 7, 8, 2]]), 4, 3, 0, True), 1)
    assert batch["token_ids"].shape == (3, 4)
    assert (batch["token_ids"] == batch["token_ids"][0]).all()


def test_too_little_data(make_store):
    with pytest.raises(
        UserError, match="the data has 4 tokens; block_length 4 needs 5; give more text or lower"
    ):
        PackedBatches(make_store([[5, 6, 7, 2]]), 4, 1, 0, training=True)
    with pytest.raises(UserError, match="the data has 1 tokens; block_length 4 needs 2"):
        PackedBatches(make_store([[2]]), 4, 1, 0, training=False)
    with pytest.raises(UserError, match="block_length is 0"):
        PackedBatches(make_store([[5, 2]]), 0, 1, 0, training=False)
