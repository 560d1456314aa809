"""Counts of n-grams against a plain count, and what a model reads of them."""

import collections

import numpy as np
import pytest

from tflm.layers.ngram_embedding import NgramEmbedding, context_hashes, row_numbers, windows_of
from tflm.tasks.features import ngram_counts
from tflm.tasks.features.ngram_counts import count_ngrams

CONTEXTS, NUM_CANDIDATES = (1, 2, 4), 3


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


def reader(table):
    layer = NgramEmbedding(CONTEXTS, len(table), NUM_CANDIDATES, width=4)
    layer.build(None)
    layer.table.assign(table)
    # The weight of a continuation tells its count and that of its context: of class 3, 3; of 4.5, 4 and 5.
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
    counted = count_ngrams(*stream(documents), CONTEXTS, 2**18, NUM_CANDIDATES)
    plain = {length: plain_counts(documents, length) for length in CONTEXTS}
    assert counted.num_contexts == counted.num_kept == sum(map(len, plain.values()))
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
    whole = count_ngrams(*stream(documents), CONTEXTS, 2**18, NUM_CANDIDATES)
    monkeypatch.setattr(ngram_counts, "_CHUNK", 7)
    monkeypatch.setattr(ngram_counts, "_TOKENS_AT_ONCE", 60)
    parts = count_ngrams(*stream(documents), CONTEXTS, 2**18, NUM_CANDIDATES)
    np.testing.assert_array_equal(parts.table, whole.table)
    assert parts[1:] == whole[1:]


def test_the_most_frequent_context_of_a_row_stays(documents):
    rng = np.random.default_rng(1)
    large = [*documents, *rng.integers(4, 60, [5, 800])]
    small = count_ngrams(*stream(large), CONTEXTS, 512, NUM_CANDIDATES)
    best = np.zeros(512, int)
    for column, length in enumerate(CONTEXTS):
        counts = plain_counts(large, length)
        newest_first = np.array([context[::-1] for context in counts], np.int32)
        padded = np.pad(newest_first, [[0, 0], [0, max(CONTEXTS) - length]], constant_values=-1)
        rows = np.asarray(row_numbers(context_hashes(padded, CONTEXTS)[:, column], 512))
        np.maximum.at(best, rows, [sum(each.values()) for each in counts.values()])
    np.testing.assert_array_equal(small.table[:, -2] & 255, np.minimum(best, 255))
    assert small.num_kept == np.count_nonzero(best) and small.num_contexts > 2000


def test_counted_text_does_not_see_itself():
    document = [1, 5, 6, 7, 8, 9, 2]
    following = np.array([[*document[1:], 0]], np.int32)
    once = reader(count_ngrams(*stream([document]), CONTEXTS, 2**10, NUM_CANDIDATES).table)
    assert all(seen == {} for place in found(once, document, following) for seen in place)
    layer_input = once.combine(
        once(windows(document), next_ids=following), np.ones([1, 7, 12, 4], np.float32)
    )
    np.testing.assert_array_equal(layer_input, np.zeros([1, 7, 4]))
    twice = reader(count_ngrams(*stream([document] * 2), CONTEXTS, 2**10, NUM_CANDIDATES).table)
    other = found(twice, document, following)
    assert other == found(once, document) and other[3] == [{8: 1.0}] * 3


def test_leaving_out_a_document_is_as_if_it_had_not_been_counted():
    """Of documents of one n-gram each: the tokens that are used are those of the other documents, and so are the
    contexts with a row; ties included."""
    rng = np.random.default_rng(2)
    documents = [[4, int(token)] for token in np.minimum(5 + rng.geometric(0.2, 30), 20)]
    documents += [[int(context), 5] for context in rng.integers(10, 1200, 1500)]
    whole = reader(count_ngrams(*stream(documents), CONTEXTS, 512, NUM_CANDIDATES).table)
    num_lost = 0
    for place in [*range(0, 30, 3), *range(30, 44)]:
        document, rest = documents[place], documents[:place] + documents[place + 1 :]
        others = reader(count_ngrams(*stream(rest), CONTEXTS, 512, NUM_CANDIDATES).table)
        following = np.array([[document[1], 0]], np.int32)
        expected = found(others, document)[0][0]
        assert found(whole, document, following)[0][0] == expected
        num_lost += expected == {} != found(whole, document)[0][0]
    assert num_lost > 0


def test_counts_of_more_than_255_stay(documents):
    layer = reader(count_ngrams(*stream([[4, 5, 4, 5, 4]] * 300), CONTEXTS, 2**10, NUM_CANDIDATES).table)
    assert layer.table.numpy().min() >= 0
    following = np.array([[5, 4, 5, 4]], np.int32)
    assert found(layer, [4, 5, 4, 5], following)[-1] == [{4: 1.0}] * 3


def test_a_long_document_counts_once_for_each_part():
    long = [4, 5] * 1100
    layer = reader(count_ngrams(*stream([long]), CONTEXTS, 2**10, NUM_CANDIDATES).table)
    assert set((layer.table.numpy()[:, -2] & 255).tolist()) == {0, 3}
