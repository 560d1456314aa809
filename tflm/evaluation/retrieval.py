"""How good vectors of texts are: answers found by them, similarities beside gold scores; and near-duplicates."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UserError

_MOST_CELLS = 2**24  # of a table of similarities that is held at a time: 64 MB
_ROUNDING = 1e-5  # of a cosine in float32


class Duplicates(NamedTuple):
    """Two near-duplicates."""

    first: int
    second: int
    """Their places, `first` before `second`."""
    similarity: float


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Vectors of length 1, so that a product is a cosine; a vector of zeros stays one.

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
    """The documents that are most similar to a query, the first of equals first.

    >>> nearest(np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), count=2)
    (array([1, 2]), array([1.        , 0.70710677], dtype=float32))

    Args:
        query: float [D].
        documents: float [N, D].
        count: how many; all where there are fewer.
    Returns:
        Their places, int [K], and cosines, float32 [K], from high to low.
    """
    cosines = unit_rows(documents) @ unit_rows(query[None])[0]
    places = np.argsort(-cosines, kind="stable")[:count]
    return places, cosines[places]


def ranks(queries: np.ndarray, documents: np.ndarray, relevant: Sequence[int] | np.ndarray) -> np.ndarray:
    """The place, from 1, at which each query finds its document. One that is as similar counts as found before it:
    vectors that are all alike find nothing.

    Args:
        queries: float [Q, D].
        documents: float [N, D].
        relevant: [Q], for each query its document.
    Returns:
        int [Q].
    Raises:
        UserError: no queries, or not one document for each.
    """
    relevant = np.asarray(relevant)
    if not len(queries) or len(relevant) != len(queries):
        raise UserError(
            f"{len(queries)} queries and {len(relevant)} places of their documents: give one for each, one at least."
        )
    queries, documents = unit_rows(queries), unit_rows(documents)
    found = []
    for begin, end in _blocks(len(queries), len(documents)):
        cosines = queries[begin:end] @ documents.T
        own = np.take_along_axis(cosines, relevant[begin:end, None], axis=1)
        found.append(np.count_nonzero(cosines >= own, axis=1))
    return np.concatenate(found)


def recall_at_k(found: np.ndarray, k: int) -> float:
    """The share of queries whose document is among the first k.

    >>> recall_at_k(np.array([1, 3, 7]), k=5)
    0.6666666666666666

    Args:
        found: int [Q], of `ranks`.
    """
    return float(np.mean(found <= k))


def mean_reciprocal_rank(found: np.ndarray) -> float:
    """The mean of 1 / rank (Voorhees, 1999).

    >>> mean_reciprocal_rank(np.array([1, 2, 4]))
    0.5833333333333334

    Args:
        found: int [Q], of `ranks`.
    """
    return float(np.mean(1.0 / found))


def measure_retrieval(
    texts: Sequence[str], answers: Sequence[str], embed_fn: Callable[[Sequence[str]], np.ndarray]
) -> dict[str, float]:
    """How texts find their answers among all answers, of which equal ones count as one; of several answers to one
    text each is looked for by itself.

    Args:
        texts: N of them, one at least.
        answers: N of them.
        embed_fn: M texts to float [M, D].
    Returns:
        `recall@1`, `recall@5`, `recall@10` and `mrr`, and the numbers of `texts` and of different `answers`.
    """
    places = {answer: place for place, answer in enumerate(dict.fromkeys(answers))}
    found = ranks(embed_fn(texts), embed_fn(list(places)), [places[answer] for answer in answers])
    measures = {f"recall@{k}": recall_at_k(found, k) for k in (1, 5, 10)}
    return {**measures, "mrr": mean_reciprocal_rank(found), "texts": len(found), "answers": len(places)}


def spearman(embeddings: np.ndarray, others: np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Spearman's correlation of the cosines of pairs with gold scores, as STS has it (Cer et al., 2017).

    Args:
        embeddings, others: float [N, D], the two sides of each pair.
        scores: float [N], higher for what is more alike.
    Raises:
        UserError: scipy is not installed, or there are fewer than two different scores, or of cosines.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError(
            "Spearman's correlation needs the package scipy: pip install 'tflm[eval]'."
        ) from error
    cosines = np.sum(unit_rows(embeddings) * unit_rows(others), axis=1)
    for name, values in (("scores", np.asarray(scores, np.float64)), ("similarities", cosines)):
        if len(np.unique(values)) < 2:
            raise UserError(
                f"a correlation needs two different {name} at least; got {len(values)} pairs with "
                f"{values[:1].tolist() or 'none'}."
            )
    return float(stats.spearmanr(cosines, scores).statistic)


def near_duplicates(embeddings: np.ndarray, threshold: float) -> Iterator[Duplicates]:
    """Pairs of vectors whose cosine is at least the threshold, but for the rounding of float32, in the order of their
    first and then of their second.

    >>> list(near_duplicates(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), threshold=0.9))
    [Duplicates(first=0, second=2, similarity=1.0)]

    Every vector is compared with every other, some of them at a time: time for N * N products, and memory for 64 MB.

    Args:
        embeddings: float [N, D].
        threshold: from -1 to 1.
    """
    embeddings = unit_rows(embeddings)
    for begin, end in _blocks(len(embeddings), len(embeddings)):
        cosines = embeddings[begin:end] @ embeddings[begin:].T
        later = np.arange(cosines.shape[1])[None] > np.arange(len(cosines))[:, None]
        for row, column in np.argwhere((cosines >= threshold - _ROUNDING) & later):
            similarity = min(1.0, float(cosines[row, column]))
            yield Duplicates(begin + int(row), begin + int(column), similarity)


def _blocks(num_rows: int, num_columns: int) -> Iterator[tuple[int, int]]:
    """Begin and end of blocks of rows; a table with a row for each and all columns has at most _MOST_CELLS."""
    size = max(1, _MOST_CELLS // max(1, num_columns))
    for begin in range(0, num_rows, size):
        yield begin, min(begin + size, num_rows)
