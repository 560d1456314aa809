import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from tflm.data import RowBatches, build_store
from tflm.errors import UserError

LENGTHS = {"source_ids": 40, "token_ids": 60, "label_ids": 4}


@pytest.fixture
def make_rows(tmp_path):
    """make_rows({"source_ids": [[5, 6], []], "number": [0, 1]}) -> TokenStore with these features, in two rows."""

    def make(features):
        count = len(next(iter(features.values())))

        def encode(examples):
            rows = [int(row) for row in examples["row"].numpy()]
            encoded = {}
            for name, values in features.items():
                chosen = [values[row] for row in rows]
                encoded[name] = (
                    tf.ragged.constant(chosen, tf.int32, row_splits_dtype=tf.int64, ragged_rank=1)
                    if isinstance(values[0], list)
                    else tf.constant(chosen, tf.int32)
                )
            return encoded

        return build_store(({"row": str(row)} for row in range(count)), encode, tmp_path / "store", "")

    return make


def numpy_batches(batches, count=None, start=0):
    dataset = batches.dataset(start).take(count or batches.batches_per_epoch)
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset]


def random_features(count, seed=0):
    """Rows that tell their number, with pairs of like lengths as translations have."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(2.5, 0.5, count), 1, 35).astype(int)
    return {
        "source_ids": [[row + 1] * int(length) for row, length in enumerate(lengths)],
        "token_ids": [
            [row + 1] * int(length * generator.uniform(0.8, 1.3)) for row, length in enumerate(lengths)
        ],
        "label_ids": [[row + 1] * int(generator.integers(0, 5)) for row in range(count)],
        "number": list(range(1, count + 1)),
    }


def test_evaluation_by_hand(make_rows):
    store = make_rows(
        {"source_ids": [[5, 6, 7, 8], [5]], "token_ids": [[1, 9, 2], [1, 2]], "prefix_length": [4, 7]}
    )
    [batch] = numpy_batches(RowBatches(store, 3, {"source_ids": 3, "token_ids": 9}, 0, training=False), 9)
    np.testing.assert_array_equal(batch["source_ids"], [[5, 0, 0], [5, 6, 7], [0, 0, 0]])
    np.testing.assert_array_equal(batch["token_ids"], [[1, 2, 0], [1, 9, 2], [0, 0, 0]])
    np.testing.assert_array_equal(batch["prefix_length"], [7, 4, 0])
    np.testing.assert_array_equal(batch["row_weights"], [1, 1, 0])


@pytest.mark.parametrize("training", [True, False])
def test_the_shape_of_a_batch_is_in_the_spec(make_rows, training):
    batches = RowBatches(make_rows(random_features(40)), 8, LENGTHS, 0, training)
    assert batches.element_spec == {
        "source_ids": tf.TensorSpec([8, None], tf.int32),
        "token_ids": tf.TensorSpec([8, None], tf.int32),
        "label_ids": tf.TensorSpec([8, None], tf.int32),
        "number": tf.TensorSpec([8], tf.int32),
        "row_weights": tf.TensorSpec([8], tf.float32),
    }
    assert batches.dataset().element_spec == batches.element_spec


@pytest.mark.parametrize("count", [1, 8, 9, 203])
def test_evaluation_has_each_row_once_and_whole(make_rows, count):
    features = random_features(count)
    batches = RowBatches(make_rows(features), 8, LENGTHS, 0, training=False)
    found = numpy_batches(batches, 1000)
    assert len(found) == batches.batches_per_epoch == -(-count // 8)
    numbers = []
    for batch in found:
        for i, number in enumerate(batch["number"]):
            assert batch["row_weights"][i] == (number > 0)
            for name in LENGTHS:
                row = features[name][number - 1] if number else []
                np.testing.assert_array_equal(batch[name][i], row + [0] * (batch[name].shape[1] - len(row)))
        numbers += [number for number in batch["number"] if number]
    assert sorted(numbers) == list(range(1, count + 1))


def test_training_epochs_have_each_row_at_most_once_in_another_order(make_rows):
    features = random_features(206)
    batches = RowBatches(make_rows(features), 4, LENGTHS, 3, training=True)
    assert batches.batches_per_epoch == 51
    orders = []
    for epoch in range(2):
        found = numpy_batches(batches, 51, start=51 * epoch)
        numbers = [number for batch in found for number in batch["number"]]
        assert len(set(numbers)) == 204
        assert all((batch["row_weights"] == 1).all() for batch in found)
        for batch in found:
            np.testing.assert_array_equal(batch["source_ids"][:, 0], batch["number"])
            np.testing.assert_array_equal(
                (batch["token_ids"] > 0).sum(axis=1),
                [len(features["token_ids"][n - 1]) for n in batch["number"]],
            )
        orders.append(numbers)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("training", [True, False])
def test_pairs_of_like_length_stand_together_in_few_shapes(make_rows, training):
    batches = RowBatches(make_rows(random_features(2000)), 16, LENGTHS, 0, training)
    found = numpy_batches(batches)
    names = tuple(LENGTHS)
    places = sum(batch[name].size for batch in found for name in names)
    padding = 1 - sum((batch[name] > 0).sum() for batch in found for name in names) / places
    assert batches.padding_fraction == pytest.approx(padding, abs=1e-9)
    assert padding < 0.25  # of it a tenth or so is the labels, which are half empty
    for name in ("source_ids", "token_ids"):
        assert 3 < len({batch[name].shape for batch in found}) <= 12
    assert {batch["label_ids"].shape for batch in found} == {(16, 4)}


def test_one_feature_that_differs_in_width_may_have_24_widths(make_rows):
    features = random_features(600)
    features = {name: features[name] for name in ("token_ids", "label_ids")}
    found = numpy_batches(RowBatches(make_rows(features), 4, features.fromkeys(features, 60), 0, False))
    assert 12 < len({batch["token_ids"].shape for batch in found}) <= 24


def test_empty_rows_are_kept_and_a_feature_may_be_empty_altogether(make_rows):
    store = make_rows({"token_ids": [[], [7, 8], []], "label_ids": [[], [], []]})
    [batch] = numpy_batches(RowBatches(store, 4, {"token_ids": 9, "label_ids": 3}, 0, training=False))
    np.testing.assert_array_equal(batch["token_ids"], [[0, 0], [0, 0], [7, 8], [0, 0]])
    np.testing.assert_array_equal(batch["label_ids"], [[0]] * 4)
    np.testing.assert_array_equal(batch["row_weights"], [1, 1, 1, 0])


def test_long_rows_are_cut_and_it_is_said(make_rows, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: warnings.append(message % args))
    batches = RowBatches(make_rows({"token_ids": [[5, 6, 7, 8], [5, 6]]}), 2, {"token_ids": 3}, 0, False)
    [batch] = numpy_batches(batches)
    np.testing.assert_array_equal(batch["token_ids"], [[5, 6, 0], [5, 6, 7]])
    assert batches.num_cut == {"token_ids": 1}
    assert warnings == ["token_ids: 1 of 2 rows are truncated to length 3"]


def test_fewer_rows_than_a_batch_repeat_in_training(make_rows):
    store = make_rows({"token_ids": [[5], [6]], "number": [1, 2]})
    [batch] = numpy_batches(RowBatches(store, 5, {"token_ids": 3}, 0, training=True), 1)
    assert set(batch["number"]) == {1, 2}
    np.testing.assert_array_equal(batch["row_weights"], [1] * 5)


def test_wrong_sizes_and_missing_features(make_rows):
    store = make_rows({"token_ids": [[5]], "number": [1]})
    with pytest.raises(UserError, match="the max_length of token_ids is 0; it must be at least 1"):
        RowBatches(store, 1, {"token_ids": 0}, 0, True)
    with pytest.raises(UserError, match="has no offsets of 'source_ids'; its features are token_ids, number"):
        RowBatches(store, 1, {"source_ids": 9, "token_ids": 9}, 0, True)
    with pytest.raises(UserError, match="batch_size is 0"):
        RowBatches(store, 0, {"token_ids": 9}, 0, True)
