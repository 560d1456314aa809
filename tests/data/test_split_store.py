"""SplitStore: rows inside rows, and batches of them."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import RowBatches, build_store
from tflm.data.store_views import SplitStore
from tflm.errors import UserError


def encode(examples):
    """ "5 6 7|8" -> the numbers, joined; how many there are between bars; and the first of each."""
    rows = tf.strings.split(examples["text"], "|")
    numbers = tf.strings.to_number(tf.strings.split(rows), tf.int32)
    lengths = tf.cast(numbers.row_lengths(axis=2), tf.int32)
    return {
        "token_ids": numbers.merge_dims(1, 2),
        "row_lengths": lengths,
        "firsts": lengths.with_flat_values(tf.gather(numbers.flat_values, numbers.values.row_starts())),
        "num_rows": tf.cast(rows.row_lengths(), tf.int32),
    }


@pytest.fixture
def store(tmp_path):
    texts = ["5 6 7|8", "9 9"]
    return build_store([{"text": text} for text in texts], encode, tmp_path / "store", "a")


def test_the_rows_of_examples_become_rows(store):
    split = SplitStore(store, "row_lengths", ("token_ids",), ("firsts",))
    assert (store.num_rows, split.num_rows) == (2, 3)
    assert split.offsets("token_ids").tolist() == [0, 3, 4, 6]
    assert split.lengths("token_ids").tolist() == [3, 1, 2]
    assert split.features == ("token_ids", "firsts")
    (batch,) = RowBatches(split, 4, {"token_ids": 3}, seed=0, training=False).dataset()
    order = np.argsort(batch["firsts"][:3])
    assert batch["token_ids"].numpy()[order].tolist() == [[5, 6, 7], [8, 0, 0], [9, 9, 0]]
    assert batch["firsts"].numpy()[order].tolist() == [5, 8, 9]
    assert batch["row_weights"].numpy().tolist() == [1, 1, 1, 0]


def test_features_that_do_not_fit(store):
    with pytest.raises(
        UserError,
        match=r"the feature 'num_rows' has 2 values; expected 3 according to 'row_lengths'. Rebuild",
    ):
        SplitStore(store, "row_lengths", ("token_ids",), ("num_rows",))
    with pytest.raises(
        UserError, match=r"the feature 'firsts' has 3 values; expected 6 according to 'row_lengths'. Rebuild"
    ):
        SplitStore(store, "row_lengths", ("firsts",), ())
