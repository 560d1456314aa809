"""Span corruption: parts of a text are missing, and an encoder-decoder writes them (Raffel et al., 2020, section
3.1.4); or it writes the whole text again (text infilling; Lewis et al., 2020, section 2.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tflm.tasks.features.rows import join


class NoiseSpans(NamedTuple):
    """Which tokens are missing."""

    is_missing: tf.Tensor
    """bool [B, L]."""
    begins: tf.Tensor
    """bool [B, L]: the first token of each span."""
    number: tf.Tensor
    """int32 [B, L]: which span of its row a missing token is in, from 0."""


def count_spans(
    lengths: np.ndarray, noise_density: float, mean_span_length: float
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens of a text are missing, and in how many spans.

    >>> count_spans(np.array([1, 10, 512]), 0.15, 3.0)
    (array([0, 2, 77]), array([0, 1, 26]))

    Args:
        lengths: int [N], tokens in the text.
        noise_density: the share of missing tokens. At least one is missing and one stays.
        mean_span_length: in tokens. Between two spans at least one token stays.
    Returns:
        Two int64 [N].
    """
    missing = np.minimum(np.maximum(np.round(lengths * noise_density), 1), lengths - 1).clip(0)
    spans = np.maximum(np.round(missing / mean_span_length), 1)
    spans = np.minimum(np.minimum(spans, missing), lengths - missing + 1)
    return missing.astype(np.int64), spans.astype(np.int64)


def random_spans(
    lengths: tf.Tensor, width: int, seed: tf.Tensor, noise_density: float, mean_span_length: float
) -> NoiseSpans:
    """The numbers of tokens and spans are those of `count_spans`; each placement is equally likely.

    The paper's own program begins every text with tokens that stay and ends it with missing ones. Here a text may
    begin and end with either.

    Args:
        lengths: int32 [B], at most `width`: a row's tokens, padded on the right.
        width: int, L.
        seed: int64 [2].
        noise_density, mean_span_length: see `count_spans`.
    """
    missing, spans = (
        tf.gather(tf.constant(table, tf.int32), lengths)
        for table in count_spans(np.arange(width + 1), noise_density, mean_span_length)
    )
    num_spans = int(count_spans(np.array([width]), noise_density, mean_span_length)[1][0])
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    span_lengths = random_parts(missing, spans, width, num_spans, seeds[0])
    # What stays before, between and after the spans; the first and the last of these may be empty.
    gaps = random_parts(lengths - missing + 2, spans + 1, width + 2, num_spans + 1, seeds[1])
    gaps -= tf.one_hot(0, num_spans + 1, dtype=tf.int32) + tf.one_hot(spans, num_spans + 1, dtype=tf.int32)
    starts = tf.cumsum(gaps, axis=1)[:, :-1] + tf.cumsum(span_lengths, axis=1, exclusive=True)
    places = tf.broadcast_to(tf.range(width), [tf.size(lengths), width])
    num_started = tf.searchsorted(starts, places, side="right")
    num_ended = tf.searchsorted(starts + span_lengths, places, side="right")
    number = tf.maximum(num_started - 1, 0)
    is_missing = num_started > num_ended
    begins = is_missing & tf.equal(tf.gather(starts, number, batch_dims=1), places)
    return NoiseSpans(is_missing, begins, number)


def random_parts(
    num_items: tf.Tensor, num_parts: tf.Tensor, max_items: int, max_parts: int, seed: tf.Tensor
) -> tf.Tensor:
    """Items cut into parts of at least one item each; each way to cut is equally likely.

    >>> random_parts([5, 3], [2, 3], max_items=5, max_parts=3, seed=[1, 2])
    [[4, 1, 0], [1, 1, 1]]

    Args:
        num_items: int32 [B].
        num_parts: int32 [B], at most as many; 0 where there is no item.
        max_items, max_parts: ints, the greatest of each.
        seed: int64 [2].
    Returns:
        int32 [B, max_parts], whose rows add up to `num_items`.
    """
    shape = [tf.size(num_items), max_items]
    place = tf.range(max_items)[None]
    is_item = place < num_items[:, None]
    # A cut before an item is where the draw of that item is among the least.
    draws = tf.where(is_item & (place > 0), tf.random.stateless_uniform(shape, seed), 2.0)
    rank = tf.argsort(tf.argsort(draws, axis=1), axis=1)
    is_cut = (rank < num_parts[:, None] - 1) & is_item
    part = tf.cumsum(tf.cast(is_cut, tf.int32), axis=1)
    in_part = tf.equal(part[:, :, None], tf.range(max_parts)) & is_item[:, :, None]
    return tf.math.count_nonzero(in_part, axis=1, dtype=tf.int32)


def corrupted_sources(
    token_ids: tf.Tensor, lengths: tf.Tensor, spans: NoiseSpans, mark_ids: Sequence[int], end_id: int
) -> tf.RaggedTensor:
    """What the encoder reads: the text with one mark for each span, and the end token.

    >>> corrupted_sources([[5, 6, 7, 8, 9]], [5], spans, [30, 31], end_id=2)     # 6, 7 and 9 are missing
    [[5, 30, 8, 31, 2]]

    Args:
        token_ids: int32 [B, L], padded on the right.
        lengths: int32 [B], tokens without the padding.
        spans: of these rows.
        mark_ids: one for each span of a row, or a single one for all.
        end_id: int.
    """
    marks = tf.gather(tf.constant(mark_ids, tf.int32), tf.minimum(spans.number, len(mark_ids) - 1))
    is_token = tf.range(tf.shape(token_ids)[1]) < lengths[:, None]
    kept = is_token & (spans.begins | ~spans.is_missing)
    return join(_packed(tf.where(spans.begins, marks, token_ids), kept), end_id)


def missing_targets(
    token_ids: tf.Tensor, spans: NoiseSpans, sentinel_ids: Sequence[int], start_id: int, end_id: int
) -> tf.RaggedTensor:
    """What the decoder writes: each span after its sentinel, between start and end.

    The paper's own program writes one sentinel more before the end; here the end token is enough.

    >>> missing_targets([[5, 6, 7, 8, 9]], spans, [30, 31], start_id=1, end_id=2)    # 6, 7 and 9 are missing
    [[1, 30, 6, 7, 31, 9, 2]]

    Args:
        token_ids: int32 [B, L], padded on the right.
        spans: of these rows.
        sentinel_ids: one for each span of a row.
        start_id, end_id: ints.
    """
    sentinels = tf.gather(
        tf.constant(sentinel_ids, tf.int32), tf.minimum(spans.number, len(sentinel_ids) - 1)
    )
    shape = [tf.shape(token_ids)[0], 2 * token_ids.shape[1]]
    both = tf.reshape(tf.stack([sentinels, token_ids], axis=2), shape)
    kept = tf.reshape(tf.stack([spans.begins, spans.is_missing], axis=2), shape)
    return join(start_id, _packed(both, kept), end_id)


def _packed(values: tf.Tensor, kept: tf.Tensor) -> tf.RaggedTensor:
    """Of each row of int32 [B, W] what is kept."""
    lengths = tf.math.count_nonzero(kept, axis=1)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, kept), lengths, validate=False)
