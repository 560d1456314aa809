"""The table of counted n-grams that a language model reads; see `tflm.layers.ngram_embedding`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflm.layers.ngram_embedding import (
    CHECK_BITS,
    COUNT_BITS,
    GREATEST_COUNT,
    check_numbers,
    context_hashes,
    row_numbers,
)

_CHUNK = 1 << 20
"""Tokens that are hashed at a time."""
_TOKENS_AT_ONCE = 1 << 24
"""Of contexts that are sorted at a time: those with other hashes wait for the next pass."""
_LEAST_UNIT, _NUM_UNITS = 1024, 256
"""The least number of tokens of a part of a document, and the number of parts of a text that is one document."""
_HASH = np.uint64(2**32 - 1)
_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class NgramCounts(NamedTuple):
    """A table, and what is in it."""

    table: np.ndarray
    """int32 [R, K + 3]: K + 1 continuations, the context, and the next context; see `NgramEmbedding`."""
    num_contexts: int
    """Contexts that were counted, of all lengths."""
    num_kept: int
    """Contexts that have a row."""


def count_ngrams(
    token_ids: np.ndarray,
    offsets: np.ndarray,
    contexts: Sequence[int],
    num_rows: int,
    num_candidates: int,
) -> NgramCounts:
    """Counts what follows each context within a document, and keeps the most frequent context of each row.

    An n-gram is counted once for each document: the count less one is then that of the n-gram in other documents,
    which is what a model of a new document has. Counts of occurrences would be higher, since documents repeat
    themselves. A document longer than N / 256 tokens, such as a book that is all of the text, is counted in parts of
    that length, of 1,024 tokens at least.

    Args:
        token_ids: int32 [N], the documents one after another.
        offsets: int64 [D + 1], where each begins, and N.
        contexts: lengths of the contexts, in ascending order.
        num_rows: int, R, a power of 2.
        num_candidates: int, K.
    """
    table = np.zeros([num_rows, num_candidates + 3], np.int32)
    best, second = np.zeros([2, num_rows], np.uint64)
    num_contexts = 0
    num_passes = -(-len(token_ids) // _TOKENS_AT_ONCE)
    for turn in range(num_passes):
        for packed, units in _packed(token_ids, offsets, contexts, turn, num_passes):
            if len(packed):
                num_contexts += _add(table, best, second, _once(packed, units))
    rival = np.minimum(second >> np.uint64(32), GREATEST_COUNT - 1).astype(np.int32)
    wins_ties = (second & _HASH) > (best & _HASH)
    table[:, -1] = 2 * rival + wins_ties
    return NgramCounts(table, num_contexts, int(np.count_nonzero(best)))


def _packed(
    token_ids: np.ndarray, offsets: np.ndarray, contexts: Sequence[int], turn: int, num_passes: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each length of a context, the hash of each context and the token after it, as one number uint64 [M], and the
    unit that it is in, uint64 [M]; of those hashes whose remainder is `turn`."""
    unit_length = max(_LEAST_UNIT, len(token_ids) // _NUM_UNITS)
    found: list[list[np.ndarray]] = [[] for _ in contexts]
    units: list[list[np.ndarray]] = [[] for _ in contexts]
    for begin in range(0, len(token_ids), _CHUNK):
        end = min(begin + _CHUNK, len(token_ids))
        places = np.arange(begin, end)
        document = np.searchsorted(offsets, places, side="right") - 1
        has_next = places + 1 < offsets[document + 1]  # in the document
        places, document = places[has_next], document[has_next]
        before = places - offsets[document]
        following = token_ids[places + 1].astype(np.uint64)
        unit = (places - before % unit_length).astype(np.uint64)  # where it begins
        steps = np.arange(max(contexts))
        windows = token_ids[np.maximum(places[:, None] - steps, 0)]
        windows = np.where(steps <= before[:, None], windows, -1).astype(np.int32)
        hashes = np.asarray(context_hashes(windows, contexts)).astype(np.uint64)
        for column, length in enumerate(contexts):
            chosen = before >= length - 1
            if num_passes > 1:
                chosen &= hashes[:, column] % np.uint64(num_passes) == turn
            found[column].append(hashes[chosen, column] << np.uint64(CHECK_BITS) | following[chosen])
            units[column].append(unit[chosen])
    return [(np.concatenate(each), np.concatenate(own)) for each, own in zip(found, units, strict=True)]


def _once(packed: np.ndarray, units: np.ndarray) -> np.ndarray:
    """`packed` uint64 [M] without those that are repeated in a unit; in another order."""
    keys = packed * _ODD[0] ^ units * _ODD[1]
    order = np.argsort(keys)
    return packed[order[_first_of_runs(keys[order])]]


def _add(table: np.ndarray, best: np.ndarray, second: np.ndarray, packed: np.ndarray) -> int:
    """Puts the contexts of one length into a table, and returns their number.

    Args:
        table: int32 [R, K + 3]; modified.
        best, second: uint64 [R], of the two most frequent contexts of each row the count times 2^32 and the hash, by
            which contexts of equal counts are ordered; modified.
        packed: uint64 [M], hashes and next tokens; sorted.
    """
    packed.sort()
    first = _first_of_runs(packed)
    counts = np.diff(np.append(first, len(packed)))
    hashes, following = _split(packed[first])
    starts = _first_of_runs(hashes)
    totals, contexts = np.add.reduceat(counts, starts), hashes[starts]

    capped = np.minimum(counts, GREATEST_COUNT).astype(np.uint64)
    rank_bits, id_bits = np.uint64(COUNT_BITS), np.uint64(CHECK_BITS)
    by_count = (hashes << rank_bits | (np.uint64(GREATEST_COUNT) - capped)) << id_bits | following
    by_count.sort()  # within a context the most frequent first
    ranks = np.arange(len(hashes)) - np.repeat(starts, np.diff(np.append(starts, len(hashes))))
    rows = np.asarray(row_numbers(contexts.astype(np.uint32), len(table)))
    winners = _winners(totals.astype(np.uint64) << np.uint64(32) | contexts, rows, best, second)

    number = np.full(len(contexts), -1)  # of each context among the winners
    number[winners] = np.arange(len(winners))
    context_of = np.repeat(np.arange(len(contexts)), np.diff(np.append(starts, len(hashes))))
    kept = np.flatnonzero((ranks < table.shape[1] - 2) & (number[context_of] >= 0))
    words = np.zeros([len(winners), table.shape[1]], np.int32)
    ids = by_count[kept] & np.uint64(2**CHECK_BITS - 1)
    seen = np.uint64(GREATEST_COUNT) - (by_count[kept] >> id_bits & np.uint64(GREATEST_COUNT))
    words[number[context_of[kept]], ranks[kept]] = ids << rank_bits | seen
    checks = np.asarray(check_numbers(contexts[winners].astype(np.uint32)))
    words[:, -2] = checks << COUNT_BITS | np.minimum(totals[winners], GREATEST_COUNT)
    table[rows[winners]] = words
    return len(contexts)


def _winners(keys: np.ndarray, rows: np.ndarray, best: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which contexts get a row, int64.

    Args:
        keys: uint64 [C], different, as those of `best` and `second`, which are modified.
        rows: int32 [C], in ascending order.
    """
    starts = _first_of_runs(rows)
    highest = np.maximum.reduceat(keys, starts)
    lengths = np.diff(np.append(starts, len(rows)))
    is_highest = keys == np.repeat(highest, lengths)
    others = np.maximum.reduceat(np.where(is_highest, np.uint64(0), keys), starts)
    here = rows[starts]
    old, old_second = best[here], second[here]
    wins = highest > old
    second[here] = np.maximum(np.minimum(highest, old), np.where(wins, others, old_second))
    best[here] = np.maximum(highest, old)
    return np.flatnonzero(is_highest & np.repeat(wins, lengths))


def _split(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return packed >> np.uint64(CHECK_BITS), packed & np.uint64(2**CHECK_BITS - 1)


def _first_of_runs(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins, int64."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
