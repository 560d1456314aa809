"""Batches of several sources, drawn by weight: shares, passes, positions, views."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.conftest import encode_numbers
from tflm.data import BucketedBatches, MappedBatches, PackedBatches, RowBatches, build_store
from tflm.data.batching.skip_gram_batches import SkipGramBatches
from tflm.data.store_views import CutStore, JoinedStore, SplitStore
from tflm.errors import UserError


@pytest.fixture
def join(tmp_path):
    """join({"a": rows, "b": rows}, {"a": 3, "b": 1}) -> JoinedStore; the prefix of each row is 1."""

    def make(sources, weights):
        stores = {}
        for name, rows in sources.items():
            examples = [{"source": "1", "target": " ".join(map(str, row))} for row in rows]
            stores[name] = build_store(examples, encode_numbers, tmp_path / name, repr(rows))
        return JoinedStore(stores, weights)

    return make


SMALL, LARGE = (
    [[1000 + 10 * n + k for k in range(4)] for n in range(5)],
    [[5000 + 10 * n + k for k in range(4 + n % 3)] for n in range(40)],
)


def numpy_batches(batches, count, start=0):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.dataset(start).take(count)]


def make_batches(kind, store, seed=3, training=True):
    if kind == "packed":
        return PackedBatches(store, 4, 10, seed, training)
    if kind == "bucketed":
        return BucketedBatches(store, 10, 8, seed, training)
    rows = RowBatches(store, 10, {"token_ids": 8}, seed, training)
    return MappedBatches(rows, lambda batch, seed: batch, rows.element_spec)


KINDS = ("packed", "bucketed", "rows")


@pytest.mark.parametrize("kind", KINDS)
def test_each_source_has_its_share(join, kind):
    """Exactly, over every 1000 rows, and with no other token than its own."""
    batches = make_batches(kind, join({"small": SMALL, "large": LARGE}, {"small": 3, "large": 1}))
    # Of packed batches, any 100 hold 1000 rows in order; the others sort windows of 4 batches.
    firsts = np.concatenate([batch["token_ids"][:, 0] for batch in numpy_batches(batches, 100)])
    assert (firsts < 5000).sum() == 750
    assert set(firsts // 1000) == {1, 5}
    epochs = batches.epochs(100)
    if kind != "packed":
        assert epochs == {"small": 750 / 5, "large": 250 / 40}
        counts = np.unique(firsts, return_counts=True)[1]
        assert set(counts[:5]) == {150} and set(counts[5:]) <= {6, 7} and len(counts) == 45


@pytest.mark.parametrize("kind", KINDS)
def test_batch_n_is_a_function_of_seed_and_n(join, kind):
    store = join({"small": SMALL, "large": LARGE}, {"small": 0.5, "large": 0.5})
    batches = make_batches(kind, store)
    through = numpy_batches(batches, 12)
    for start in (1, 7, 11):
        for one, other in zip(numpy_batches(batches, 12 - start, start), through[start:], strict=True):
            np.testing.assert_array_equal(one["token_ids"], other["token_ids"])
    far = numpy_batches(make_batches(kind, store), 1, 10**12)
    assert far[0]["token_ids"].shape[0] == 10
    another = numpy_batches(make_batches(kind, store, seed=4), 12)
    assert any(
        a["token_ids"].shape != b["token_ids"].shape or (a["token_ids"] != b["token_ids"]).any()
        for a, b in zip(through, another)
    )


def test_blocks_of_a_source_are_a_circle_of_its_own(join):
    store = join({"a": [list(range(100, 111))], "b": [list(range(300, 323))]}, {"a": 1, "b": 1})
    for batch in numpy_batches(PackedBatches(store, 5, 8, 0, training=True), 6):
        tokens, targets = batch["token_ids"], batch["targets"]
        expected = np.where(tokens < 300, (tokens - 99) % 11 + 100, (tokens - 299) % 23 + 300)
        np.testing.assert_array_equal(targets, expected)
        assert (batch["loss_weights"] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_is_one_pass_over_all(join, kind, tmp_path):
    joined = join({"small": SMALL, "large": LARGE}, {"small": 3, "large": 1})
    examples = [{"source": "1", "target": " ".join(map(str, row))} for row in [*SMALL, *LARGE]]
    whole = build_store(examples, encode_numbers, tmp_path / "whole", "a")
    for name, part in [("token_ids", "values"), ("token_ids", "offsets"), ("prefix_length", "values")]:
        np.testing.assert_array_equal(joined._load(name, part), whole._load(name, part))
    ours, theirs = (make_batches(kind, store, training=False) for store in (joined, whole))
    assert ours.batches_per_epoch == theirs.batches_per_epoch
    for one, other in zip(numpy_batches(ours, 99), numpy_batches(theirs, 99), strict=True):
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


def test_views_know_where_a_source_begins(join, tmp_path):
    def encode(examples):
        return {"token_ids": tf.strings.to_number(tf.strings.split(examples["text"]), tf.int32)}

    def store_of(name, rows):
        examples = [{"text": " ".join(map(str, row))} for row in rows]
        return build_store(examples, encode, tmp_path / name, name)

    rows = {"a": [[1] * 7, [1]], "b": [[], [2] * 3, [2] * 8], "c": [[3]]}
    stores = {name: store_of(name, each) for name, each in rows.items()}
    cut = CutStore(JoinedStore(stores, dict.fromkeys(rows, 1.0)), 3)
    assert cut.mixture.row_starts.tolist() == [0, 4, 8, 9]
    batches = RowBatches(cut, 1000, {"token_ids": 3}, 0, training=True)
    (batch,) = numpy_batches(batches, 1)
    assert np.bincount(batch["token_ids"][:, 0]).tolist() == [0, 334, 333, 333]

    def windows(examples):
        numbers = tf.strings.to_number(tf.strings.split(examples["text"]), tf.int32)
        lengths = tf.ones_like(numbers)
        return {"token_ids": numbers, "row_lengths": lengths, "places": numbers}

    split = {
        name: build_store([{"text": text}], windows, tmp_path / f"split_{name}", name)
        for name, text in {"a": "5 6 7", "b": "8 9"}.items()
    }
    view = SplitStore(JoinedStore(split, {"a": 1, "b": 1}), "row_lengths", ("token_ids",), ("places",))
    assert view.mixture.row_starts.tolist() == [0, 3, 5]
    assert view.values("places").tolist() == [5, 6, 7, 8, 9]


def test_word_pairs_are_of_one_source(join):
    store = join({"a": [[5, 6, 7, 8]] * 3, "b": [[15, 16, 17]] * 20}, {"a": 4, "b": 1})
    batches = SkipGramBatches(
        store, 64, vocab_size=20, window=2, subsample=0.0, num_negatives=1, seed=0, training=True
    )
    words, contexts = (
        np.concatenate([b[key] for b in numpy_batches(batches, 20)]) for key in ("token_ids", "targets")
    )
    assert ((words < 10) == (contexts < 10)).all()
    assert 0.75 < (words < 10).mean() < 0.85


def test_refusals(join, tmp_path):
    with pytest.raises(
        UserError, match=r"the source 'b' of the mixture has nothing to train on: no row, or less"
    ):
        PackedBatches(join({"a": [[1] * 50], "b": [[2] * 4]}, {"a": 1, "b": 1}), 8, 2, 0, training=True)
    with pytest.raises(UserError, match=r"the source 'a' has 0.01% of the weight; the least is 0.1%. Raise"):
        make_batches("rows", join({"a": [[1]], "b": [[2]]}, {"a": 1, "b": 9999}))
    other = build_store(
        [{"text": "1"}], lambda e: {"token_ids": tf.ragged.constant([[1]])}, tmp_path / "x", "x"
    )
    plain = join({"a": [[1]]}, {"a": 1})
    with pytest.raises(UserError, match="'a' and 'x' do not have the same features: token_ids, "):
        JoinedStore({"a": plain._stores[0], "x": other}, {"a": 1, "x": 1})
