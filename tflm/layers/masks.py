"""Boolean attention masks (True attends) and padding masks (True is real)."""

from typing import Any

from keras import ops

Tensor = Any


def causal_mask(length: Tensor) -> Tensor:
    """Causal mask: each position attends to itself and to earlier positions.

    >>> causal_mask(3)[0]
    [[True, False, False],
     [True, True, False],
     [True, True, True]]

    Returns:
        bool [1, length, length].
    """
    positions = ops.arange(length)
    return (positions[:, None] >= positions[None, :])[None]


def cache_mask(capacity: Tensor, num_queries: Tensor, cache_index: Tensor, num_padding: Tensor) -> Tensor:
    """Causal mask over a key/value cache: written positions up to each query, without the left padding of the row.

    >>> cache_mask(capacity=5, num_queries=1, cache_index=3, num_padding=[2])
    [[[False, False, True, True, False]]]

    Args:
        capacity: int, number of positions in the cache.
        num_queries: int, K.
        cache_index: int32 scalar, cache position of the first query.
        num_padding: int32 [B], left padding of each row.
    Returns:
        bool [B, K, capacity].
    """
    key_positions = ops.arange(capacity)[None, None, :]
    query_positions = (cache_index + ops.arange(num_queries))[None, :, None]
    return (key_positions <= query_positions) & (key_positions >= num_padding[:, None, None])


def window_mask(num_keys: Tensor, num_queries: Tensor, cache_index: Tensor, window: int) -> Tensor:
    """Mask of a sliding window: each query attends to the last `window` positions, its own among them (Beltagy et al.,
    2020, section 3.1). It says nothing of later positions.

    >>> window_mask(num_keys=5, num_queries=2, cache_index=3, window=2)[0]
    [[False, False, True, True, True],
     [False, False, False, True, True]]

    Args:
        num_keys: int, S.
        num_queries: int, K.
        cache_index: int32 scalar, position of the first query among the keys.
        window: int.
    Returns:
        bool [1, K, S].
    """
    key_positions = ops.arange(num_keys, dtype="int32")[None, None, :]
    query_positions = (cache_index + ops.arange(num_queries, dtype="int32"))[None, :, None]
    return query_positions - key_positions < window


def padding_mask(token_ids: Tensor, pad_id: int) -> Tensor:
    """True at real tokens, False at padding.

    >>> padding_mask([[5, 0, 9]], pad_id=9)
    [[True, True, False]]

    Args:
        token_ids: int32 [B, T].
        pad_id: int; no text has it.
    Returns:
        bool, shape of `token_ids`.
    """
    return ops.not_equal(token_ids, pad_id)


def document_mask(document_ids: Tensor) -> Tensor:
    """Mask of packed documents: each position attends only to positions of its own document.

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
