import numpy as np
import pytest
from absl import logging

from tflm.data import BucketedBatches
from tflm.errors import UserError


def numpy_batches(batches, count, start=0):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.dataset(start).take(count)]


def row_of(batch, i):
    """The row that gave line i of a batch, from its inputs and targets, and the weights of its places."""
    length = int((batch["targets"][i] != 0).sum())
    return (*batch["token_ids"][i, :1], *batch["targets"][i, :length]), batch["loss_weights"][i, :length]


def random_rows(count, seed=0, mean=3.0, sigma=0.6):
    """Rows that differ from each other, of lognormal lengths, as texts have."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(mean, sigma, count).astype(int), 1, 198)
    return [[1, i + 10, *generator.integers(3, 10, length), 2] for i, length in enumerate(lengths)]


def test_evaluation_by_hand(make_store):
    store = make_store([[1, 5, 4, 7, 2], [1, 4, 2], [1, 6, 4, 2]], prefixes=[3, 2, 3])
    [first, second] = numpy_batches(BucketedBatches(store, 2, 30, 0, training=False), 9)
    np.testing.assert_array_equal(first["token_ids"], [[1, 4, 0], [1, 6, 4]])
    np.testing.assert_array_equal(first["targets"], [[4, 2, 0], [6, 4, 2]])
    np.testing.assert_array_equal(first["loss_weights"], [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(second["token_ids"], [[1, 5, 4, 7], [0, 0, 0, 0]])
    np.testing.assert_array_equal(second["targets"], [[5, 4, 7, 2], [0, 0, 0, 0]])
    np.testing.assert_array_equal(second["loss_weights"], [[0, 0, 1, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_evaluation_has_each_row_once_and_one_batch_size(make_store, count):
    rows = random_rows(count)
    prefixes = [1 + i % 2 for i in range(count)]
    batches = BucketedBatches(make_store(rows, prefixes), 8, 250, 0, training=False)
    found = numpy_batches(batches, 1000)
    assert len(found) == batches.batches_per_epoch == -(-count // 8)
    lines = [row_of(batch, i) for batch in found for i in range(8) if batch["targets"][i].any()]
    assert sorted(row for row, _ in lines) == sorted(map(tuple, rows))
    for row, weights in lines:
        expected = np.arange(len(row) - 1) >= prefixes[row[1] - 10] - 1
        np.testing.assert_array_equal(weights, expected)


def test_training_epochs_have_each_row_at_most_once_in_another_order(make_store):
    rows = random_rows(206)
    batches = BucketedBatches(make_store(rows), 4, 250, 3, training=True)
    epoch = batches.batches_per_epoch
    assert epoch == 51
    orders, left_out = [], set()
    for number in range(3):
        found = numpy_batches(batches, epoch, start=number * epoch)
        ids = [row_of(batch, i)[0][1] for batch in found for i in range(4)]
        assert len(set(ids)) == len(ids) == 204
        orders.append(tuple(ids))
        left_out |= set(range(10, 216)) - set(ids)
        widths = [batch["token_ids"].shape[1] for batch in found]
        assert widths != sorted(widths)  # the batches are shuffled, not only the rows
    assert len(set(orders)) == 3
    assert len(left_out) > 2


@pytest.mark.parametrize(("mean", "sigma"), [(2.3, 0.5), (3.4, 0.8), (4.3, 0.4)])
def test_padding_is_under_a_tenth_in_few_shapes(make_store, mean, sigma):
    store = make_store(random_rows(3000, mean=mean, sigma=sigma))
    for training in (True, False):
        batches = BucketedBatches(store, 16, 200, 0, training)
        found = numpy_batches(batches, batches.batches_per_epoch)
        places = sum(batch["targets"].size for batch in found)
        padding = 1 - sum((batch["targets"] != 0).sum() for batch in found) / places
        assert batches.padding_fraction == pytest.approx(padding, abs=1e-9)
        assert padding < 0.1
        assert len({batch["targets"].shape for batch in found}) <= 24


def test_long_rows_are_cut_and_rows_with_nothing_to_learn_left_out(make_store, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: warnings.append(message % args))
    rows = [[1, 5, 4, 7, 8, 9, 2], [1, 5, 4, 2], [1, 5, 6, 7, 8, 4, 2], [1]]
    batches = BucketedBatches(make_store(rows, [3, 3, 6, 1]), 2, 4, 0, training=False)
    assert (batches.num_cut, batches.num_left_out) == (2, 2)
    [batch] = numpy_batches(batches, 9)
    np.testing.assert_array_equal(batch["token_ids"], [[1, 5, 4, 0], [1, 5, 4, 7]])
    np.testing.assert_array_equal(batch["targets"], [[5, 4, 2, 0], [5, 4, 7, 8]])
    np.testing.assert_array_equal(batch["loss_weights"], [[0, 0, 1, 0], [0, 0, 1, 1]])
    assert warnings == [
        "2 of 4 rows are truncated to max_length 4",
        "2 of 4 rows have no target tokens and are skipped",
    ]


def test_fewer_rows_than_a_batch_repeat_in_training(make_store):
    [batch] = numpy_batches(BucketedBatches(make_store([[1, 5, 2], [1, 6, 2]]), 5, 9, 0, True), 1)
    assert batch["token_ids"].shape == (5, 2)
    assert set(batch["token_ids"][:, 1]) == {5, 6}


def test_nothing_to_learn_at_all_and_missing_features(make_store):
    store = make_store([[1, 5, 6, 2]], [3])
    with pytest.raises(
        UserError, match="none of 1 rows has a target token within max_length 2; raise max_length"
    ):
        BucketedBatches(store, 1, 2, 0, training=True)
    with pytest.raises(UserError, match="max_length is 0"):
        BucketedBatches(store, 1, 0, 0, training=True)
    (store.folder / "prefix_length.values.npy").unlink()
    with pytest.raises(UserError, match="has no values of 'prefix_length'; its features are token_ids"):
        BucketedBatches(store, 1, 9, 0, training=True)
