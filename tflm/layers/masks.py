"""Which query may see which key, as booleans. True attends."""

from typing import Any

from keras import ops

Tensor = Any


def causal_mask(length: Tensor) -> Tensor:
    """A position sees itself and what came before.

    >>> causal_mask(3)[0]
    [[True, False, False],
     [True, True, False],
     [True, True, True]]

    Returns:
        bool [1, length, length].
    """
    place = ops.arange(length)
    return (place[:, None] >= place[None, :])[None]


def cache_mask(capacity: Tensor, num_queries: Tensor, cache_index: Tensor, num_padding: Tensor) -> Tensor:
    """Queries at `cache_index ...` over a cache: what was written, less each row's padding on the left.

    >>> cache_mask(capacity=5, num_queries=1, cache_index=3, num_padding=[2])
    [[[False, False, True, True, False]]]

    Args:
        capacity: int, positions in the cache.
        num_queries: int, K.
        cache_index: int scalar, the first query's place.
        num_padding: int32 [B].
    Returns:
        bool [B, K, capacity].
    """
    key_place = ops.arange(capacity)[None, None, :]
    query_place = (cache_index + ops.arange(num_queries))[None, :, None]
    return (key_place <= query_place) & (key_place >= num_padding[:, None, None])


def padding_mask(token_ids: Tensor) -> Tensor:
    """True where a token is real. The pad id is 0 in every tokenizer.

    >>> padding_mask([[5, 6, 0]])
    [[True, True, False]]

    Returns:
        bool, of the shape of `token_ids`.
    """
    return ops.not_equal(token_ids, 0)


def document_mask(document_ids: Tensor) -> Tensor:
    """A position sees those of its own document alone.

    >>> document_mask([[0, 0, 1]])[0]
    [[True, True, False],
     [True, True, False],
     [False, False, True]]

    Args:
        document_ids: int32 [B, T].
    Returns:
        bool [B, T, T].
    """
    return ops.equal(document_ids[:, :, None], document_ids[:, None, :])
