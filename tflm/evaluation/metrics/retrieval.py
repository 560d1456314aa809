"""Metrics of text embeddings: retrieval, semantic textual similarity, near-duplicates."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UserError

_MAX_CELLS = 2**24  # of a block of the similarity matrix in memory: 64 MB
_ROUNDING = 1e-5  # rounding error of a cosine in float32


class Duplicates(NamedTuple):
    """A pair of near-duplicates."""

    first: int
    second: int
    """Indices of the two vectors, `first` < `second`."""
    similarity: float
    """Cosine."""


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """L2-normalized rows, whose dot products are cosines. Zero vectors stay zero.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8], [0. , 0. ]], dtype=float32)

    Args:
        embeddings: float [N, D].
    Returns:
        float32 [N, D].
    """
    embeddings = np.asarray(embeddings, np.float32)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(lengths > 0, lengths, 1.0)


def nearest(query: np.ndarray, documents: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The documents with the highest cosine similarity to a query; ties are in document order.

    >>> nearest(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), count=2)
    (array([1, 2]), array([1.        , 0.70710677], dtype=float32))

    Args:
        query: float [D].
        documents: float [N, D].
        count: int, maximum number of documents.
    Returns:
        Indices int [K] and cosines float32 [K], in descending order, K = min(count, N).
    """
    cosines = unit_rows(documents) @ unit_rows(query[None])[0]
    places = np.argsort(-cosines, kind="stable")[:count]
    return places, cosines[places]


def ranks(queries: np.ndarray, documents: np.ndarray, relevant: Sequence[int] | np.ndarray) -> np.ndarray:
    """Rank of the relevant document of each query, from 1. Ties count against the relevant document, so that constant
    vectors do not score.

    Args:
        queries: float [Q, D].
        documents: float [N, D].
        relevant: int [Q], index of the relevant document of each query.
    Returns:
        int [Q].
    Raises:
        UserError: no queries, or a different number of relevant documents.
    """
    relevant = np.asarray(relevant)
    if not len(queries) or len(relevant) != len(queries):
        raise UserError(
            f"found {len(queries)} queries and {len(relevant)} relevant documents; expected equal numbers, at least "
            "one each."
        )
    queries, documents = unit_rows(queries), unit_rows(documents)
    found = []
    for begin, end in _blocks(len(queries), len(documents)):
        cosines = queries[begin:end] @ documents.T
        own = np.take_along_axis(cosines, relevant[begin:end, None], axis=1)
        found.append(np.count_nonzero(cosines >= own, axis=1))
    return np.concatenate(found)


def recall_at_k(found: np.ndarray, k: int) -> float:
    """Fraction of queries whose relevant document has rank k or better.

    >>> recall_at_k(np.array([1, 3, 7]), k=5)
    0.6666666666666666

    Args:
        found: int [Q], from `ranks`.
        k: int.
    """
    return float(np.mean(found <= k))


def mean_reciprocal_rank(found: np.ndarray) -> float:
    """Mean reciprocal rank (Voorhees, 1999).

    >>> mean_reciprocal_rank(np.array([1, 2, 4]))
    0.5833333333333334

    Args:
        found: int [Q], from `ranks`.
    """
    return float(np.mean(1.0 / found))


def measure_retrieval(
    texts: Sequence[str], answers: Sequence[str], embed_fn: Callable[[Sequence[str]], np.ndarray]
) -> dict[str, float]:
    """Retrieval of the answer of each text among all distinct answers. Several answers of one text are separate
    queries. All texts are normalized to NFC.

    Args:
        texts: N queries, N >= 1.
        answers: N answers.
        embed_fn: maps M texts to float [M, D].
    Returns:
        `recall@1`, `recall@5`, `recall@10` and `mrr`, and the numbers of `texts` and of distinct `answers`.
    """
    texts, answers = ([unicodedata.normalize("NFC", text) for text in side] for side in (texts, answers))
    places = {answer: place for place, answer in enumerate(dict.fromkeys(answers))}
    found = ranks(embed_fn(texts), embed_fn(list(places)), [places[answer] for answer in answers])
    measures = {f"recall@{k}": recall_at_k(found, k) for k in (1, 5, 10)}
    return {**measures, "mrr": mean_reciprocal_rank(found), "texts": len(found), "answers": len(places)}


def spearman(embeddings: np.ndarray, others: np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Spearman's rank correlation of cosines and gold scores, as in STS (Cer et al., 2017).

    Args:
        embeddings, others: float [N, D], the two sides of each pair.
        scores: float [N], gold similarity.
    Raises:
        UserError: fewer than two distinct scores or cosines.
    """
    from scipy import stats

    cosines = np.sum(unit_rows(embeddings) * unit_rows(others), axis=1)
    for name, values in (("scores", np.asarray(scores, np.float64)), ("similarities", cosines)):
        if len(np.unique(values)) < 2:
            raise UserError(
                f"a correlation needs at least two distinct {name}; got {len(values)} pairs with "
                f"{values[:1].tolist() or 'none'}."
            )
    return float(stats.spearmanr(cosines, scores).statistic)


def near_duplicates(embeddings: np.ndarray, threshold: float) -> Iterator[Duplicates]:
    """Pairs of vectors with a cosine of at least the threshold, up to float32 rounding, ordered by first and second
    index.

    >>> list(near_duplicates(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), threshold=0.9))
    [Duplicates(first=0, second=2, similarity=1.0)]

    Computes the full similarity matrix in blocks: O(N^2) time, 64 MB of memory.

    Args:
        embeddings: float [N, D].
        threshold: float, from -1 to 1.
    """
    embeddings = unit_rows(embeddings)
    for begin, end in _blocks(len(embeddings), len(embeddings)):
        cosines = embeddings[begin:end] @ embeddings[begin:].T
        later = np.arange(cosines.shape[1])[None] > np.arange(len(cosines))[:, None]
        for row, column in np.argwhere((cosines >= threshold - _ROUNDING) & later):
            similarity = min(1.0, float(cosines[row, column]))
            yield Duplicates(begin + int(row), begin + int(column), similarity)


def _blocks(num_rows: int, num_columns: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of blocks of rows with at most _MAX_CELLS cells each."""
    size = max(1, _MAX_CELLS // max(1, num_columns))
    for begin in range(0, num_rows, size):
        yield begin, min(begin + size, num_rows)
