"""Counts of n-grams against a plain count, and what a model reads of them."""

import collections

import numpy as np
import pytest

from tflm.layers.ngram_embedding import CellFormat, NgramEmbedding, windows_of
from tflm.tasks.features import ngram_counts
from tflm.tasks.features.ngram_counts import count_ngrams

CONTEXTS, NUM_CANDIDATES, VOCAB_SIZE = (1, 2, 4), 3, 2000


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    common = rng.integers(4, 12, 40)
    return [[1, *rng.integers(4, 12, size), *common[: size // 2], 2] for size in (0, 5, 30, 60, 3)]


def stream(documents):
    return np.concatenate(documents).astype(np.int32), np.cumsum([0, *map(len, documents)])


def plain_counts(documents, length):
    """Of each context the number of documents that have it, for each token that follows."""
    counts = collections.defaultdict(collections.Counter)
    for document in documents:
        for ngram in {tuple(document[n : n + length + 1]) for n in range(len(document) - length)}:
            counts[ngram[:-1]][ngram[-1]] += 1
    return counts


def count(documents, num_cells=2**18):
    return count_ngrams(*stream(documents), CONTEXTS, CellFormat(num_cells, VOCAB_SIZE), NUM_CANDIDATES)


def reader(table):
    """A new layer: the weight of a continuation is about its share of the continuations of its context."""
    layer = NgramEmbedding(CONTEXTS, len(table), NUM_CANDIDATES, VOCAB_SIZE, width=4)
    layer.build(None)
    layer.table.assign(table)
    return layer


def windows(document):
    ids = np.asarray(document, np.int32)[None]
    return windows_of(ids, np.arange(ids.shape[1]), np.zeros(1, np.int32), max(CONTEXTS))


def found(layer, document, next_ids=None):
    """For each position and context the tokens with a weight, and their weights."""
    result = layer(windows(document), next_ids=next_ids)
    shape = (len(document), len(CONTEXTS), -1)
    ids, weights = (np.reshape(each, shape) for each in (result.token_ids, result.weights))
    return [
        [dict(zip(i[w != 0].tolist(), w[w != 0].tolist(), strict=True)) for i, w in zip(*both, strict=True)]
        for both in zip(ids, weights, strict=True)
    ]


def test_counts_are_those_of_a_plain_count(documents):
    counted = count(documents)
    plain = {length: plain_counts(documents, length) for length in CONTEXTS}
    kept = [min(len(counts), NUM_CANDIDATES + 1) for each in plain.values() for counts in each.values()]
    more = [len(counts) > NUM_CANDIDATES + 1 for each in plain.values() for counts in each.values()]
    assert counted.num_ngrams == sum(kept) and counted.num_kept == sum(kept) + sum(more)
    layer, num_frequent = reader(counted.table), 0
    for document in documents:
        for place, per_context in enumerate(found(layer, document)):
            for length, seen in zip(CONTEXTS, per_context, strict=True):
                expected = plain[length][tuple(document[max(place + 1 - length, 0) : place + 1])]
                least = sorted(expected.values(), reverse=True)[:NUM_CANDIDATES][-1] if expected else 0
                assert len(seen) == min(len(expected), NUM_CANDIDATES)
                assert all(expected[token] >= least for token in seen)
                total = sum(expected.values())
                for token, weight in seen.items():
                    if total <= 3:
                        np.testing.assert_allclose(weight, expected[token] / total, rtol=1e-6)
                num_frequent += total > 4
    assert num_frequent > 20


def test_parts_of_the_work_give_the_same_table(documents, monkeypatch):
    whole = count(documents)
    monkeypatch.setattr(ngram_counts, "_CHUNK", 7)
    monkeypatch.setattr(ngram_counts, "_TOKENS_AT_ONCE", 60)
    parts = count(documents)
    np.testing.assert_array_equal(parts.table, whole.table)
    assert parts[1:] == whole[1:]


def test_the_most_frequent_ngrams_of_a_small_table_stay(documents):
    rng = np.random.default_rng(1)
    large = [*documents, *rng.integers(4, 60, [5, 800])]
    small, cells = count(large, 512), CellFormat(512, VOCAB_SIZE)
    whole = count(large).table
    codes = np.asarray(cells.code_of(small.table))
    assert small.num_ngrams > 4000 and small.num_kept == np.count_nonzero(codes) == 512
    assert codes.sum() > 1.5 * 512 * CellFormat(2**18, VOCAB_SIZE).code_of(whole[whole > 0]).numpy().mean()


def test_counted_text_does_not_see_itself():
    document = [1, 5, 6, 7, 8, 9, 2]
    following = np.array([[*document[1:], 0]], np.int32)
    once = reader(count([document]).table)
    assert all(seen == {} for place in found(once, document, following) for seen in place)
    layer_input = once.combine(
        once(windows(document), next_ids=following), np.ones([1, 7, 12, 4], np.float32)
    )
    np.testing.assert_array_equal(layer_input, np.zeros([1, 7, 4]))
    twice = reader(count([document] * 2).table)
    other = found(twice, document, following)
    assert other == found(once, document) and other[3] == [{8: 1.0}] * 3


def test_leaving_out_a_document_is_as_if_it_had_not_been_counted():
    """Of documents of one n-gram each: the tokens that are used are those of the other documents, ties included."""
    rng = np.random.default_rng(2)
    documents = [[4, int(token)] for token in np.minimum(5 + rng.geometric(0.2, 30), 20)]
    whole = reader(count(documents).table)
    for place in range(0, 30, 2):
        document, rest = documents[place], documents[:place] + documents[place + 1 :]
        others = reader(count(rest).table)
        following = np.array([[document[1], 0]], np.int32)
        assert found(whole, document, following)[0][0] == found(others, document)[0][0]


def test_large_counts_stay():
    layer = reader(count([[4, 5, 4, 5, 4]] * 300).table)
    assert layer.table.numpy().min() >= 0
    following = np.array([[5, 4, 5, 4]], np.int32)
    assert found(layer, [4, 5, 4, 5], following)[-1] == [{4: 1.0}] * 3
    assert ngram_counts.codes_of(np.array([1, 16, 17, 32, 33, 10**9])).tolist() == [1, 16, 17, 17, 18, 31]


def test_a_long_document_counts_once_for_each_part():
    layer = reader(count([[4, 5] * 1100]).table)
    assert set(np.asarray(layer.cells.code_of(layer.table)).tolist()) == {0, 3}
