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
_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class NgramCounts(NamedTuple):
    """A table, and what is in it."""

    table: np.ndarray
    """int32 [R, K + 2]: K + 1 continuations, and the context; see `NgramEmbedding`."""
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
    table = np.zeros([num_rows, num_candidates + 2], np.int32)
    totals_of_rows = np.zeros(num_rows, np.int64)
    num_contexts = 0
    num_passes = -(-len(token_ids) // _TOKENS_AT_ONCE)
    for turn in range(num_passes):
        for packed, units in _packed(token_ids, offsets, contexts, turn, num_passes):
            if len(packed):
                num_contexts += _add(table, totals_of_rows, _once(packed, units))
    return NgramCounts(table, num_contexts, int(np.count_nonzero(totals_of_rows)))


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


def _add(table: np.ndarray, totals_of_rows: np.ndarray, packed: np.ndarray) -> int:
    """Puts the contexts of one length into a table, and returns their number.

    Args:
        table: int32 [R, K + 2]; modified.
        totals_of_rows: int64 [R], how often the context of each row was seen; modified.
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
    num_candidates = table.shape[1] - 1
    kept = np.flatnonzero(ranks < num_candidates)
    chosen = by_count[kept]
    ids = chosen & np.uint64(2**CHECK_BITS - 1)
    seen = np.uint64(GREATEST_COUNT) - (chosen >> id_bits & np.uint64(GREATEST_COUNT))
    words = np.zeros([len(contexts), num_candidates + 1], np.int32)
    context_of = np.repeat(np.arange(len(contexts)), np.diff(np.append(starts, len(hashes))))
    words[context_of[kept], ranks[kept]] = ids << rank_bits | seen
    checks = np.asarray(check_numbers(contexts.astype(np.uint32)))
    words[:, -1] = checks << COUNT_BITS | np.minimum(totals, GREATEST_COUNT)

    rows = np.asarray(row_numbers(contexts.astype(np.uint32), len(table)))
    order = np.argsort(totals, kind="stable")
    order = order[
        totals[order] > totals_of_rows[rows[order]]
    ]  # of equal rows the last, most frequent one stays
    table[rows[order]] = words[order]
    totals_of_rows[rows[order]] = totals[order]
    return len(contexts)


def _split(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return packed >> np.uint64(CHECK_BITS), packed & np.uint64(2**CHECK_BITS - 1)


def _first_of_runs(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins, int64."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
