"""Counted n-grams as an input of a language model: which tokens followed the last tokens in the training data.

A context is the last n tokens. Its most frequent continuations are in a hash table, one cell for each: the token, its
count, and a part of the hash, by which other n-grams of the same cell are told apart. The counts are not trained; what
a count is worth is.

For text that was counted, each count is reduced by the position itself. Which tokens are the most frequent changes with
it, so one token more than is used is in the table: otherwise the least of them would be known to be the next token.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tflm.layers.linear import Linear

Tensor = Any

COUNT_BITS = 5
"""Of the code of a count in a cell: counts up to 16 are their own codes; then a code is for counts up to the next power
of 2."""
EXACT = 16
"""The greatest count that is its own code."""

_COUNTS = [*range(EXACT + 1), *(24 * 2**n for n in range(2**COUNT_BITS - EXACT - 1))]
"""About the count of each code."""
_CELL_BITS = 31
_MULTIPLIERS = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35
_FROM = (1, 2, 3, 4, 6, 9, 17, 18)
"""The least code of each class of counts after the class of 0: from 1, 2, 3, 4, 6, 9, 17 and 33 on."""
_MEAN = (0.0, 1.0, 2.0, 3.0, 4.5, 7.0, 12.0, 24.0, 100.0)
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
        num_cells: int, R, cells of the table; a power of 2.
        num_candidates: int, K, continuations of a context that are used.
        vocab_size: int.
        width: int, E, of the token embedding.
    """

    def __init__(
        self,
        contexts: Sequence[int],
        num_cells: int,
        num_candidates: int,
        vocab_size: int,
        width: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contexts, self.num_candidates, self.width = tuple(contexts), num_candidates, width
        self.cells = CellFormat(num_cells, vocab_size)
        self.mix = Linear(width, use_bias=False, kernel_initializer="identity", name="mix")

    @property
    def longest(self) -> int:
        """Tokens of the longest context."""
        return max(self.contexts)

    def build(self, input_shape: Any) -> None:
        """Makes the table, which is empty, and the trained weights."""
        del input_shape
        num_classes = len(_MEAN)
        self.table = self.add_weight(
            shape=(self.cells.num_cells,), initializer="zeros", dtype="int32", trainable=False, name="table"
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
        # With `next_ids` one token more, of which the least frequent is then left out.
        num_candidates = self.num_candidates + int(next_ids is not None)
        token_ids, codes, totals = self._look_up(windows, num_candidates)
        if next_ids is not None:
            codes = _less(codes, token_ids == next_ids[..., None, None])
            totals = _less(totals, totals > 0)
            ranks = codes * 2**self.cells.id_bits - token_ids
            codes = ops.where(ranks > ops.min(ranks, axis=-1, keepdims=True), codes, 0)
        # Without a cell for the total, the continuations are all that there are.
        totals = ops.maximum(totals, _code(ops.sum(_count(codes), axis=-1)))
        num_classes, num_contexts = len(_MEAN), len(self.contexts)
        base = ops.arange(num_contexts, dtype="int32") * num_classes**2 + _class(totals)
        places = base[..., None] + _class(codes) * num_classes
        weights = ops.take(ops.reshape(self.shares, (-1,)), places, axis=0)
        weights = ops.where(codes > 0, weights, 0.0)
        surest = base + _class(ops.max(codes, axis=-1)) * num_classes
        confidence = ops.sum(ops.take(self.confidences, surest, axis=0), axis=-2)
        flat = (-1, ops.shape(windows)[1], num_contexts * num_candidates)
        return Continuations(ops.reshape(token_ids, flat), ops.reshape(weights, flat), confidence)

    def _look_up(self, windows: Tensor, num_candidates: int) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids and codes of counts int32 [B, T, O, N] of the continuations, and the code of the count of each
        context int32 [B, T, O]; all 0 where there is no cell."""
        is_whole = ops.stack([windows[..., length - 1] >= 0 for length in self.contexts], axis=-1)
        slots = ops.arange(num_candidates + 1, dtype="int32")
        slots = ops.where(slots < num_candidates, slots, TOTAL_SLOT)
        places, checks = self.cells.find(context_hashes(windows, self.contexts)[..., None], slots)
        words = ops.take(self.table, places, axis=0)
        is_found = is_whole[..., None] & (self.cells.check_of(words) == checks)
        words = ops.where(is_found, words, 0)
        token_ids, codes = self.cells.id_of(words), self.cells.code_of(words)
        return token_ids[..., :-1], codes[..., :-1], codes[..., -1]

    def combine(self, found: Continuations, embedded: Tensor) -> Tensor:
        """float [B, T, E] from what `call` gave, and the embeddings float [B, T, N, E] of its tokens."""
        weights = ops.cast(found.weights, embedded.dtype)
        mean = ops.matmul(weights[..., None, :], embedded)[..., 0, :]
        return self.mix(mean) + ops.cast(found.confidence, embedded.dtype)


TOTAL_SLOT = -1
"""The slot of the count of a context, which has a cell if its continuations are more than have cells."""


class CellFormat:
    """Where the cells of a context are, and what a cell is: the check, the code of the count and the token id as one
    int32, from the upper bits down; 0 if empty.

    Args:
        num_cells: int, R, a power of 2.
        vocab_size: int.
    """

    def __init__(self, num_cells: int, vocab_size: int) -> None:
        self.num_cells = num_cells
        self.id_bits = max(1, (vocab_size - 1).bit_length())
        self.check_bits = _CELL_BITS - COUNT_BITS - self.id_bits

    def find(self, hashes: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Place of a cell and its check, int32 each, for hashes uint32 of contexts and slots int32: 0, 1, ... for the
        continuations, the most frequent one first, and `TOTAL_SLOT`. Shapes are broadcast."""
        steps = ops.cast(slots + 1, "uint32") * _uint32(_MULTIPLIERS[2])
        mixed = _mixed(ops.bitwise_xor(hashes, steps))
        places = ops.bitwise_right_shift(mixed, _uint32(33 - self.num_cells.bit_length()))
        checks = ops.bitwise_and(mixed, _uint32(2**self.check_bits - 1))
        return ops.cast(places, "int32"), ops.cast(checks, "int32")

    def word(self, checks: Any, codes: Any, ids: Any) -> Any:
        """int32, of arrays or tensors of them."""
        return (checks * 2**COUNT_BITS + codes) * 2**self.id_bits + ids

    def check_of(self, words: Tensor) -> Tensor:
        """int32."""
        return _shifted(words, self.id_bits + COUNT_BITS)

    def code_of(self, words: Tensor) -> Tensor:
        """int32; see `COUNT_BITS`."""
        return _lower(_shifted(words, self.id_bits), COUNT_BITS)

    def id_of(self, words: Tensor) -> Tensor:
        """int32."""
        return _lower(words, self.id_bits)


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


def _mixed(values: Tensor) -> Tensor:
    values = values * _uint32(_MULTIPLIERS[0])
    return ops.bitwise_xor(values, ops.bitwise_right_shift(values, _uint32(15)))


def _uint32(number: int) -> Tensor:
    return ops.convert_to_tensor(number, dtype="uint32")


def _shifted(words: Tensor, bits: int) -> Tensor:
    return ops.bitwise_right_shift(words, ops.convert_to_tensor(bits, dtype="int32"))


def _lower(words: Tensor, bits: int) -> Tensor:
    return ops.bitwise_and(words, ops.convert_to_tensor(2**bits - 1, dtype="int32"))


def _less(codes: Tensor, where: Tensor) -> Tensor:
    """Codes of counts without the position itself; counts above 16 stay what they are."""
    return codes - ops.cast(where & (codes > 0) & (codes <= EXACT), "int32")


def _count(codes: Tensor) -> Tensor:
    """About the count of a code, int32."""
    return ops.take(ops.convert_to_tensor(_COUNTS, dtype="int32"), codes, axis=0)


def _code(counts: Tensor) -> Tensor:
    """The code of a count, as far as its class."""
    return ops.where(counts <= EXACT, counts, ops.where(counts <= 2 * EXACT, EXACT + 1, EXACT + 2))


def _class(codes: Tensor) -> Tensor:
    """int32, the class of the count of each code."""
    return sum(ops.cast(codes >= least, "int32") for least in _FROM)
