"""The table of counted n-grams that a language model reads; see `tflm.layers.ngram_embedding`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflm.layers.ngram_embedding import COUNT_BITS, EXACT, TOTAL_SLOT, CellFormat, context_hashes

_CHUNK = 1 << 20
"""Tokens that are hashed at a time."""
_TOKENS_AT_ONCE = 1 << 24
"""Of contexts that are sorted at a time: those with other hashes wait for the next pass."""
_LEAST_UNIT, _NUM_UNITS = 1024, 256
"""The least number of tokens of a part of a document, and the number of parts of a text that is one document."""
_ID_BITS, _RANK_BITS = np.uint64(23), np.uint64(8)
_ID, _RANK = np.uint64(2**23 - 1), np.uint64(2**8 - 1)
_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class NgramCounts(NamedTuple):
    """A table, and what is in it."""

    table: np.ndarray
    """int32 [R]; see `CellFormat`."""
    num_ngrams: int
    """N-grams that were to be kept: the most frequent continuations of each context."""
    num_kept: int
    """Those that have a cell."""


def count_ngrams(
    token_ids: np.ndarray,
    offsets: np.ndarray,
    contexts: Sequence[int],
    cells: CellFormat,
    num_candidates: int,
) -> NgramCounts:
    """Counts what follows each context within a document, and keeps the K + 1 most frequent tokens; of several n-grams
    in one cell the most frequent one.

    An n-gram is counted once for each document: the count less one is then that of the n-gram in other documents,
    which is what a model of a new document has. Counts of occurrences would be higher, since documents repeat
    themselves. A document longer than N / 256 tokens, such as a book that is all of the text, is counted in parts of
    that length, of 1,024 tokens at least.

    Args:
        token_ids: int32 [N], the documents one after another.
        offsets: int64 [D + 1], where each begins, and N.
        contexts: lengths of the contexts, in ascending order.
        cells: of the table.
        num_candidates: int, K.
    """
    table = np.zeros(cells.num_cells, np.int32)
    codes = np.zeros(cells.num_cells, np.uint8)
    num_ngrams = 0
    num_passes = -(-len(token_ids) // _TOKENS_AT_ONCE)
    for turn in range(num_passes):
        for packed, units in _packed(token_ids, offsets, contexts, turn, num_passes):
            if len(packed):
                num_ngrams += _add(table, codes, cells, _once(packed, units), num_candidates + 1)
    return NgramCounts(table, num_ngrams, int(np.count_nonzero(codes)))


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
            found[column].append(hashes[chosen, column] << _ID_BITS | following[chosen])
            units[column].append(unit[chosen])
    return [(np.concatenate(each), np.concatenate(own)) for each, own in zip(found, units, strict=True)]


def _once(packed: np.ndarray, units: np.ndarray) -> np.ndarray:
    """`packed` uint64 [M] without those that are repeated in a unit; in another order."""
    keys = packed * _ODD[0] ^ units * _ODD[1]
    order = np.argsort(keys)
    return packed[order[_first_of_runs(keys[order])]]


def _add(table: np.ndarray, codes: np.ndarray, cells: CellFormat, packed: np.ndarray, num_kept: int) -> int:
    """Puts the n-grams of one length into a table, and returns their number.

    Args:
        table: int32 [R]; modified.
        codes: uint8 [R], the code of the count in each cell; modified.
        cells: of the table.
        packed: uint64 [M], hashes and next tokens; sorted.
        num_kept: int, continuations of a context that are kept.
    """
    packed.sort()
    first = _first_of_runs(packed)
    counts = np.diff(np.append(first, len(packed)))
    hashes, following = packed[first] >> _ID_BITS, packed[first] & _ID
    starts = _first_of_runs(hashes)
    lengths = np.diff(np.append(starts, len(hashes)))

    by_count = (
        hashes << _RANK_BITS | (_RANK - np.minimum(counts, 255).astype(np.uint64))
    ) << _ID_BITS | following
    by_count.sort()  # within a context the most frequent first
    ranks = np.arange(len(hashes)) - np.repeat(starts, lengths)
    kept = ranks < num_kept
    ids = (by_count[kept] & _ID).astype(np.int32)
    seen = (_RANK - (by_count[kept] >> _ID_BITS & _RANK)).astype(np.int64)
    _put(table, codes, cells, hashes[kept], ranks[kept].astype(np.int32), seen, ids)

    has_more = lengths > num_kept
    totals = np.add.reduceat(counts, starts)[has_more]
    slots = np.full(len(totals), TOTAL_SLOT, np.int32)
    _put(table, codes, cells, hashes[starts][has_more], slots, totals, np.zeros_like(slots))
    return int(np.count_nonzero(kept))


def _put(
    table: np.ndarray,
    codes: np.ndarray,
    cells: CellFormat,
    hashes: np.ndarray,
    slots: np.ndarray,
    counts: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Writes cells where none has a greater count."""
    places, checks = (np.asarray(each) for each in cells.find(hashes.astype(np.uint32), slots))
    new = codes_of(counts)
    order = np.argsort(new, kind="stable")
    order = order[new[order] > codes[places[order]]]  # of equal places the last, most frequent one stays
    table[places[order]] = cells.word(checks, new.astype(np.int32), ids)[order]
    codes[places[order]] = new[order]


def codes_of(counts: np.ndarray) -> np.ndarray:
    """uint8, the code of each count, from 1 on; see `tflm.layers.ngram_embedding.COUNT_BITS`.

    >>> codes_of(np.array([1, 16, 17, 32, 33]))
    array([ 1, 16, 17, 17, 18], dtype=uint8)
    """
    large = EXACT + 1 + np.log2((np.maximum(counts, EXACT + 1) - 1) / EXACT).astype(np.int64)
    return np.where(counts <= EXACT, counts, np.minimum(large, 2**COUNT_BITS - 1)).astype(np.uint8)


def _first_of_runs(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins, int64."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
