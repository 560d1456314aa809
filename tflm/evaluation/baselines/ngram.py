"""The language modeling baseline: an n-gram model with modified Kneser-Ney smoothing."""

import dataclasses
from typing import Self

import numpy as np

from tflm.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Order:
    """All k-grams of one order k; the id of a k-gram is its index in `keys`."""

    keys: np.ndarray
    """int64 [K], sorted: id of the first k - 1 tokens times the vocabulary size, plus the last token."""
    discounted: np.ndarray
    """float64 [K]: (c - D(c)) / sum of c over all k-grams with the same first k - 1 tokens."""
    left_over: np.ndarray
    """float64 [number of (k-1)-grams]: interpolation weight of the lower order for each context, the discounted mass;
    1 for a context without counts."""

    def ids(self, contexts: np.ndarray, token_ids: np.ndarray, vocab_size: int) -> np.ndarray:
        """int64 [N]: id of each context extended by one token; -1 for unseen k-grams."""
        wanted = contexts * vocab_size + token_ids
        found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((contexts >= 0) & (self.keys[found] == wanted), found, -1)


class NgramModel:
    """Interpolated modified Kneser-Ney smoothing (Kneser and Ney, 1995; Chen and Goodman, 1999, section 3).

    The highest order uses token counts, lower orders use continuation counts (distinct preceding tokens). Each order
    has three discounts, D1, D2 and D3+, from its counts of counts. The unigrams are interpolated with the uniform
    distribution, so every token has a positive probability in every context. Start and end tokens are ordinary tokens:
    the stream is one sequence, and a context may cross a document boundary.

    Created by `train`.
    """

    def __init__(self, orders: list[_Order], vocab_size: int) -> None:
        self._orders, self.vocab_size = orders, vocab_size

    @classmethod
    def train(cls, token_ids: np.ndarray, vocab_size: int, order: int = 5) -> Self:
        """Estimates the model from a token stream.

        Args:
            token_ids: int32 [N], each below `vocab_size`.
            vocab_size: int, V.
            order: int, n; a token is predicted from the n - 1 preceding tokens.
        Raises:
            UserError: `order` is below 1, there are fewer than `order` tokens, or a token is not in the vocabulary.
        """
        if order < 1:
            raise UserError(f"the order of an n-gram model is at least 1; got {order}.")
        tokens = _validate_tokens(token_ids, vocab_size)
        if len(tokens) < order:
            raise UserError(
                f"an n-gram model of order {order} needs at least {order} tokens; the training split has {len(tokens)}."
            )
        # For each k: the k-grams, their first occurrences, and the ids of the k-grams ending at token k - 1, k, ...
        keys, places, endings = [], [], []
        ids = np.zeros(len(tokens) + 1, np.int64)
        for k in range(order):
            packed = ids[:-1] * vocab_size + tokens[k:]  # a (k-1)-gram and the next token
            unique, first, ids = np.unique(packed, return_index=True, return_inverse=True)
            keys.append(unique)
            places.append(first)
            endings.append(ids)
        orders = []
        for k in range(order):
            if k == order - 1:
                counts = np.bincount(endings[k], minlength=len(keys[k]))
            else:  # continuation counts: the last k tokens of each distinct (k+1)-gram
                counts = np.bincount(endings[k][places[k + 1] + 1], minlength=len(keys[k]))
            num_contexts = 1 if k == 0 else len(keys[k - 1])
            orders.append(_smoothed(keys[k], counts, keys[k] // vocab_size, num_contexts))
        return cls(orders, vocab_size)

    @property
    def order(self) -> int:
        """The order n of the model."""
        return len(self._orders)

    @property
    def num_parameters(self) -> int:
        """Number of n-grams of all orders."""
        return sum(len(order.keys) for order in self._orders)

    def log_probabilities(self, token_ids: np.ndarray) -> np.ndarray:
        """ln p of each token of a stream given the preceding tokens; the first tokens have shorter contexts.

        >>> NgramModel.train(np.array([4, 4, 5, 4]), vocab_size=6, order=1).log_probabilities(np.array([4, 0]))
        array([-0.40546511, -3.17805383])

        Args:
            token_ids: int32 [N], each below `vocab_size`.
        Returns:
            float64 [N].
        Raises:
            UserError: a token is not in the vocabulary.
        """
        tokens = _validate_tokens(token_ids, self.vocab_size)
        probabilities = np.full(len(tokens), 1.0 / self.vocab_size)
        contexts = np.zeros(len(tokens), np.int64)
        for order in self._orders:
            ids = order.ids(contexts, tokens, self.vocab_size)
            known = np.flatnonzero(contexts >= 0)
            probabilities[known] *= order.left_over[contexts[known]]
            seen = np.flatnonzero(ids >= 0)
            probabilities[seen] += order.discounted[ids[seen]]
            # The context of a token in the next order is the k-gram that ends at the previous token.
            contexts = np.concatenate([[-1], ids[:-1]])
        return np.log(probabilities)


def discounts(counts: np.ndarray) -> np.ndarray:
    """Discounts D1, D2 and D3+ of one order, float64 [3], from the counts of counts n1 ... n4.

    With Y = n1 / (n1 + 2 n2): D1 = 1 - 2 Y n2 / n1, D2 = 2 - 3 Y n3 / n2, D3+ = 3 - 4 Y n4 / n3 (Chen and Goodman,
    1999, equation 26). If one of n1 ... n4 is 0 or a discount is not positive, as with few tokens or a small
    vocabulary, all three are Y, the single discount of Kneser and Ney (1995); 0.5 if n1 or n2 is 0.

    Args:
        counts: int [K], counts of the k-grams.
    """
    ones, twos, threes, fours = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    if not (ones and twos):
        return np.full(3, 0.5)
    single = ones / (ones + 2 * twos)
    if threes and fours:
        found = np.array(
            [
                1 - 2 * single * twos / ones,
                2 - 3 * single * threes / twos,
                3 - 4 * single * fours / threes,
            ]
        )
        if (found > 0).all():  # a discount of 0 may leave no mass for unseen n-grams
            return found
    return np.full(3, single)


def _smoothed(keys: np.ndarray, counts: np.ndarray, contexts: np.ndarray, num_contexts: int) -> _Order:
    """Applies the discounts. The k-gram at the start of the stream has no predecessor, so its count may be 0."""
    taken = np.concatenate([[0.0], discounts(counts)])[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    left_over = np.bincount(contexts, weights=taken, minlength=num_contexts)
    has_counts = totals > 0
    left_over = np.where(has_counts, left_over / np.where(has_counts, totals, 1.0), 1.0)
    return _Order(keys, (counts - taken) / np.maximum(totals[contexts], 1.0), left_over)


def _validate_tokens(token_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """The tokens as int64, for the arithmetic of keys.

    Raises:
        UserError: a token is not in the vocabulary.
    """
    tokens = np.asarray(token_ids, np.int64)
    outside = tokens[(tokens < 0) | (tokens >= vocab_size)]
    if len(outside):
        raise UserError(
            f"token {outside[0]} is outside the vocabulary of {vocab_size} ids. Use the vocab_size of the tokenizer."
        )
    return tokens
