"""Ranks, correlations and near-duplicates beside naive ones in NumPy."""

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation.metrics import retrieval
from tflm.evaluation.metrics.retrieval import (
    mean_reciprocal_rank,
    measure_retrieval,
    near_duplicates,
    nearest,
    ranks,
    recall_at_k,
    spearman,
    unit_rows,
)


@pytest.fixture(params=[retrieval._MAX_CELLS, 100], ids=["in one block", "in blocks"])
def blocks(request, monkeypatch):
    """How large a table of similarities may be: all of it, or a row or two."""
    monkeypatch.setattr(retrieval, "_MAX_CELLS", request.param)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(40, 3))


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_ranks_equal_naive_ones(blocks, vectors):
    queries, documents = vectors[:15], vectors[15:]
    relevant = np.random.default_rng(1).integers(0, 25, 15)
    expected = [
        sorted(range(25), key=lambda place: -cosine(query, documents[place])).index(own) + 1
        for query, own in zip(queries, relevant)
    ]
    found = ranks(queries, documents, relevant)
    assert found.tolist() == expected
    assert recall_at_k(found, 5) == sum(rank <= 5 for rank in expected) / 15
    assert mean_reciprocal_rank(found) == pytest.approx(sum(1 / rank for rank in expected) / 15)


def test_texts_find_their_answers_and_equal_answers_are_one():
    directions = {"猫": [1, 0], "cat": [3, 1], "dog": [0, 1], "狗": [1, 2], "貓": [1, 0.1], "x": [1, -9]}

    def embed(texts):
        return np.array([directions[text] for text in texts])

    found = measure_retrieval(["猫", "貓", "狗", "x"], ["cat", "cat", "dog", "dog"], embed)
    assert found == {
        "recall@1": 3 / 4,
        "recall@5": 1.0,
        "recall@10": 1.0,
        "mrr": pytest.approx((1 + 1 + 1 + 1 / 2) / 4),
        "texts": 4,
        "answers": 2,
    }


def test_vectors_that_are_all_alike_find_nothing():
    found = ranks(np.ones((4, 2)), np.ones((7, 2)), [0, 1, 2, 3])
    assert found.tolist() == [7] * 4
    assert recall_at_k(found, 6) == 0.0 and recall_at_k(found, 7) == 1.0


def test_nearest_equals_a_sort(vectors):
    places, scores = nearest(vectors[0], vectors[1:], 5)
    naive = [cosine(vectors[0], other) for other in vectors[1:]]
    assert places.tolist() == sorted(range(39), key=lambda place: -naive[place])[:5]
    np.testing.assert_allclose(scores, np.array(naive)[places], atol=1e-5)
    same = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    assert nearest(np.array([0.0, 2.0]), same, 9)[0].tolist() == [0, 2, 1], "the first of equals first"


def test_a_vector_of_zeros_is_like_nothing():
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]
    assert list(near_duplicates(np.zeros((3, 2)), 0.5)) == []


def test_spearman_equals_pearson_of_the_ranks(vectors):
    one, other = vectors[:20], vectors[20:]
    scores = np.random.default_rng(2).integers(0, 6, 20)  # with ties, which share their mean rank
    naive = np.array([cosine(a, b) for a, b in zip(one, other)])

    def mean_ranks(values):
        return [(np.sum(values < value) + np.sum(values <= value) + 1) / 2 for value in values]

    expected = np.corrcoef(mean_ranks(naive), mean_ranks(scores))[0, 1]
    assert spearman(one, other, scores) == pytest.approx(expected, abs=1e-9)
    assert spearman(one, other, naive) == pytest.approx(1.0)


@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.999])
def test_near_duplicates_equal_naive_ones(blocks, vectors, threshold):
    vectors = np.concatenate([vectors, 3.0 * vectors[5:9]])
    expected = [
        (i, j) for i in range(44) for j in range(i + 1, 44) if cosine(vectors[i], vectors[j]) >= threshold
    ]
    found = list(near_duplicates(vectors, threshold))
    assert [(pair.first, pair.second) for pair in found] == expected
    for pair in found:
        assert pair.similarity == pytest.approx(cosine(vectors[pair.first], vectors[pair.second]), abs=1e-5)


def test_equal_vectors_are_found_in_spite_of_rounding(vectors):
    vectors = vectors.astype(np.float32)
    found = {
        (pair.first, pair.second) for pair in near_duplicates(np.concatenate([vectors, vectors / 3]), 1.0)
    }
    assert found >= {(place, place + 40) for place in range(40)}
    assert all(pair.similarity <= 1.0 for pair in near_duplicates(np.concatenate([vectors, vectors]), 1.0))


def test_mistakes(vectors):
    with pytest.raises(UserError, match="3 queries and 2 relevant documents; expected equal numbers"):
        ranks(vectors[:3], vectors, [0, 1])
    with pytest.raises(UserError, match="0 queries and 0 relevant documents"):
        ranks(vectors[:0], vectors, [])
    with pytest.raises(UserError, match=r"at least two distinct scores; got 2 pairs with \[3\.0\]"):
        spearman(vectors[:2], vectors[2:4], [3, 3])
    with pytest.raises(UserError, match=r"at least two distinct similarities; got 2 pairs with \[1\.0\]"):
        spearman(np.eye(2), np.eye(2), [1, 2])


def test_answers_in_nfc_and_nfd_are_one():
    def embed(texts):
        return np.array([[1.0, len(text)] for text in texts])

    found = measure_retrieval(["é", "long text"], ["cafe\u0301", "café"], embed)
    assert found["answers"] == 1 and found["recall@1"] == 1.0
