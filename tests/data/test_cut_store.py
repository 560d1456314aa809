"""Long rows become several, of nearly equal length, and every value stays."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import RowBatches, build_store
from tflm.data.store_views import CutStore
from tflm.errors import UserError


@pytest.fixture
def make(tmp_path):
    def make_store(rows, features=("token_ids", "word_ids")):
        def encode(examples):
            numbers = tf.strings.to_number(tf.strings.split(examples["text"]), tf.int32)
            values = {"token_ids": numbers, "word_ids": numbers + 100, "shorter": numbers[:, :1]}
            return (
                {name: values[name] for name in features} if features else {"dense": tf.zeros([2], tf.int32)}
            )

        examples = [{"text": " ".join(map(str, row))} for row in rows]
        return build_store(examples, encode, tmp_path / "store", "a")

    return make_store


def rows_of(store, name):
    return [part.tolist() for part in np.split(store.values(name), store.offsets(name)[1:-1])]


def test_by_hand(make):
    store = CutStore(make([[5, 6, 7, 8], [], [9, 9], [1] * 7]), 3)
    assert rows_of(store, "token_ids") == [[5, 6], [7, 8], [9, 9], [1, 1], [1, 1], [1, 1, 1]]
    assert rows_of(store, "word_ids")[:2] == [[105, 106], [107, 108]]
    assert store.num_rows == 6 and store.lengths("word_ids").tolist() == [2, 2, 2, 2, 2, 3]


@pytest.mark.parametrize("longest", [1, 2, 7, 50])
def test_no_value_is_lost_and_no_row_is_too_long(make, longest):
    rng = np.random.default_rng(longest)
    rows = [rng.integers(1, 99, length).tolist() for length in (0, 1, 7, 8, 50, 0, 49, 51)]
    cut = CutStore(make(rows), longest)
    pieces = rows_of(cut, "token_ids")
    assert np.concatenate(pieces).tolist() == np.concatenate(rows).tolist()
    assert min(map(len, pieces)) >= 1 and max(map(len, pieces)) <= longest
    assert len(pieces) == sum(-(-len(row) // longest) for row in rows)
    ends = set(np.cumsum([len(row) for row in rows]))
    assert ends <= set(np.cumsum([len(piece) for piece in pieces])) | {0}  # no piece is of two rows


def test_batches_of_it(make):
    cut = CutStore(make([[5, 6, 7, 8], [9]]), 3)
    [batch] = RowBatches(cut, 4, {"token_ids": 3, "word_ids": 3}, 0, training=False).dataset()
    assert batch["token_ids"].numpy().tolist() == [[9, 0], [5, 6], [7, 8], [0, 0]]
    assert batch["word_ids"].numpy().tolist() == [[109, 0], [105, 106], [107, 108], [0, 0]]
    assert batch["row_weights"].numpy().tolist() == [1, 1, 1, 0]


def test_features_that_do_not_fit_together(make):
    words = "token_ids, shorter cannot be split at the same positions; each needs one value per token"
    with pytest.raises(UserError, match=words):
        CutStore(make([[1, 2], [3]], ("token_ids", "shorter")), 3)
