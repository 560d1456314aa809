"""Counted n-grams as an input of a language model: which tokens followed the last tokens in the training data.

The table has a row for a context, which is the last n tokens. It is found by a hash of the context, and holds a part of
the hash, by which other contexts of the same row are told apart, how often the context was followed by a token, and the
most frequent of these tokens with their counts. The counts are not trained; what a count is worth is.

For text that was counted, each count is reduced by the position itself. Which tokens are the most frequent changes with
it, so a row has one token more than is used: otherwise the least of them would be known to be the next token. Whether
the context is in the table changes, too, so a row also has the count of the most frequent context that is not in it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tflm.layers.linear import Linear

Tensor = Any

COUNT_BITS, GREATEST_COUNT = 8, 255
"""A word of the table is an id, or a part of a hash, times 256, and a count, of which 255 means 255 or more. The last
word is twice the count of the most frequent context without a row, and 1 if with an equal count it would have it."""
CHECK_BITS = 23
"""Of a hash, in the table; and the most bits of an id."""

_MULTIPLIERS = 0x9E3779B1, 0x85EBCA6B
_FROM = (1, 2, 3, 4, 6, 9, 17, 65)
"""The least count of each class of counts after the class of 0."""
_MEAN = (0.0, 1.0, 2.0, 3.0, 4.5, 7.0, 12.0, 30.0, 150.0)
"""About the mean count of each class, for the initial weights."""


class Continuations(NamedTuple):
    """What followed the contexts of each position."""

    token_ids: Tensor
    """int32 [B, T, N], from all contexts of a position."""
    weights: Tensor
    """float [B, T, N]; 0 for no token."""
    confidence: Tensor
    """float [B, T, E], a vector for how often the contexts and their most frequent continuations were seen."""


class NgramEmbedding(keras.layers.Layer):
    """The mean embedding of the tokens that followed the last tokens in the training data, with trained weights.

    The input of a position is W sum_i w_i E(v_i) + u: v_i are the counted continuations of its contexts, w_i is a
    trained number for the length of the context, the class of the count of v_i and that of the context; u is a trained
    vector for the same of the most frequent one. It gives a network what an n-gram model knows, as residual learning
    over an n-gram model does (Li et al., 2022, N-gram Is Back), without a pass over the vocabulary.

    For text that was counted, each count is reduced by the position itself (leave one out): otherwise a network would
    learn that the only continuation of a context is always right.

    Args:
        contexts: the lengths of the contexts in tokens, O of them, in ascending order.
        num_rows: int, R, rows of the table; a power of 2.
        num_candidates: int, K, continuations of a context that are used.
        width: int, E, of the token embedding.
    """

    def __init__(
        self, contexts: Sequence[int], num_rows: int, num_candidates: int, width: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.contexts, self.num_rows, self.num_candidates = tuple(contexts), num_rows, num_candidates
        self.width = width
        self.mix = Linear(width, use_bias=False, kernel_initializer="identity", name="mix")

    @property
    def longest(self) -> int:
        """Tokens of the longest context."""
        return max(self.contexts)

    def build(self, input_shape: Any) -> None:
        """Makes the table, in which no context is, and the trained weights."""
        del input_shape
        num_classes, size = len(_MEAN), (self.num_rows, self.num_candidates + 3)
        self.table = self.add_weight(
            shape=size, initializer="zeros", dtype="int32", trainable=False, name="table"
        )
        shares = [[count / max(total, count, 1.0) for total in _MEAN] for count in _MEAN]
        self.shares = self.add_weight(
            shape=(len(self.contexts), num_classes, num_classes),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor([shares] * shape[0], dtype=dtype),
            name="share_scale",
        )
        self.confidences = self.add_weight(
            shape=(len(self.contexts) * num_classes**2, self.width),
            initializer="zeros",
            name="confidence_embeddings",
        )
        self.mix.build((None, None, self.width))
        self.built = True

    def call(self, windows: Tensor, next_ids: Tensor = None) -> Continuations:
        """Looks the contexts up.

        Args:
            windows: int32 [B, T, C], the last C tokens of each position, the newest first; see `windows_of`.
            next_ids: int32 [B, T], of text that was counted: the token after each position; None for other text.
        """
        hashes = context_hashes(windows, self.contexts)
        words = ops.take(self.table, row_numbers(hashes, self.num_rows), axis=0)
        is_whole = ops.stack([windows[..., length - 1] >= 0 for length in self.contexts], axis=-1)
        is_found = is_whole & (_high(words[..., -2]) == check_numbers(hashes))
        totals = _count(words[..., -2])
        if next_ids is not None:
            totals = _less(totals, totals > 0)
            is_found = is_found & (2 * totals >= words[..., -1])
        totals = ops.where(is_found, totals, 0)
        # With `next_ids` one token more, of which the least frequent is then left out.
        num_candidates = self.num_candidates + int(next_ids is not None)
        words = words[..., :num_candidates]
        token_ids = _high(words)
        counts = ops.where(is_found[..., None], _count(words), 0)
        if next_ids is not None:
            counts = _less(counts, token_ids == next_ids[..., None, None])
            ranks = counts * 2**CHECK_BITS - token_ids
            counts = ops.where(ranks > ops.min(ranks, axis=-1, keepdims=True), counts, 0)
        num_classes, num_contexts = len(_MEAN), len(self.contexts)
        base = ops.arange(num_contexts, dtype="int32") * num_classes**2 + _class(totals)
        places = base[..., None] + _class(counts) * num_classes
        weights = ops.take(ops.reshape(self.shares, (-1,)), places, axis=0)
        weights = ops.where(counts > 0, weights, 0.0)
        surest = base + _class(ops.max(counts, axis=-1)) * num_classes
        confidence = ops.sum(ops.take(self.confidences, surest, axis=0), axis=-2)
        length = ops.shape(windows)[1]
        flat = (-1, length, num_contexts * num_candidates)
        return Continuations(ops.reshape(token_ids, flat), ops.reshape(weights, flat), confidence)

    def combine(self, found: Continuations, embedded: Tensor) -> Tensor:
        """float [B, T, E] from what `call` gave, and the embeddings float [B, T, N, E] of its tokens."""
        weights = ops.cast(found.weights, embedded.dtype)
        mean = ops.matmul(weights[..., None, :], embedded)[..., 0, :]
        return self.mix(mean) + ops.cast(found.confidence, embedded.dtype)


def windows_of(token_ids: Tensor, positions: Tensor, first: Tensor, length: int) -> Tensor:
    """The last `length` tokens at some positions, the newest first.

    >>> windows_of([[5, 6, 7]], positions=[0, 2], first=[0], length=2)
    [[[5, -1], [7, 6]]]

    Args:
        token_ids: int32 [B, S].
        positions: int32 [K].
        first: int32 [B], position of the first token of each row; what is before it is padding.
        length: int, C.
    Returns:
        int32 [B, K, C]; -1 before the first token.
    """
    places = positions[:, None] - ops.arange(length, dtype="int32")[None]
    values = ops.take(token_ids, ops.maximum(places, 0), axis=1)
    return ops.where(places[None] >= first[:, None, None], values, -1)


def context_hashes(windows: Tensor, contexts: Sequence[int]) -> Tensor:
    """Hashes uint32 [..., O] of the last tokens int32 [..., C], the newest first: of the first n of them for each n of
    `contexts`, in ascending order. A product modulo 2^32 and an exclusive-or with its upper half for each token."""
    ids = ops.cast(windows + 1, "uint32")
    value, found = ops.zeros_like(ids[..., 0]), []
    for place in range(max(contexts)):
        value = _mixed(value * _uint32(_MULTIPLIERS[1]) + ids[..., place] + _uint32(1))
        if place + 1 in contexts:
            found.append(_mixed(value))
    return ops.stack(found, axis=-1)


def row_numbers(hashes: Tensor, num_rows: int) -> Tensor:
    """int32, the row of a table of `num_rows`, a power of 2, for each hash: its upper bits."""
    return ops.cast(ops.bitwise_right_shift(hashes, _uint32(33 - num_rows.bit_length())), "int32")


def check_numbers(hashes: Tensor) -> Tensor:
    """int32, the lower bits of each hash."""
    return ops.cast(ops.bitwise_and(hashes, _uint32(2**CHECK_BITS - 1)), "int32")


def _mixed(values: Tensor) -> Tensor:
    values = values * _uint32(_MULTIPLIERS[0])
    return ops.bitwise_xor(values, ops.bitwise_right_shift(values, _uint32(15)))


def _uint32(number: int) -> Tensor:
    return ops.convert_to_tensor(number, dtype="uint32")


def _high(words: Tensor) -> Tensor:
    return ops.bitwise_right_shift(words, ops.convert_to_tensor(COUNT_BITS, dtype="int32"))


def _count(words: Tensor) -> Tensor:
    return ops.bitwise_and(words, ops.convert_to_tensor(GREATEST_COUNT, dtype="int32"))


def _less(counts: Tensor, where: Tensor) -> Tensor:
    """Counts without the position itself; the greatest count means that or more."""
    return counts - ops.cast(where & (counts > 0) & (counts < GREATEST_COUNT), "int32")


def _class(counts: Tensor) -> Tensor:
    """int32, the class of each count."""
    return sum(ops.cast(counts >= least, "int32") for least in _FROM)
