"""Two segments of a document that follow each other or do not: next sentence and sentence order."""

from typing import NamedTuple

import tensorflow as tf

from tflm.tasks.features.rows import keep_first, keep_last

OBJECTIVES = ("none", "next_sentence", "sentence_order")


class SentencePairs(NamedTuple):
    """Where the segments of each pair come from; the same for all features of a token."""

    sources: tf.Tensor
    """int32 [2, B]: the row that each first and each second segment is of."""
    swapped: tf.Tensor
    """bool [B]: the segments are in reverse order."""
    num_first: tf.Tensor
    """int32 [B]: tokens of each row before its cut."""
    labels: tf.Tensor
    """int32 [B]: 1 where the second segment follows the first in the document, else 0."""
    are_pairs: tf.Tensor
    """bool [B], False where a row was too short to be cut."""


def draw_pairs(lengths: tf.Tensor, seed: tf.Tensor, objective: str) -> SentencePairs:
    """Cuts each row in two at a random place, and spoils half of the pairs.

    `next_sentence`: the second segment is that of another row (Devlin et al., 2019, section 3.1). `sentence_order`:
    the segments change places (Lan et al., 2020, section 3.1).

    Args:
        lengths: int32 [B], tokens in each row.
        seed: int64 [2].
        objective: next_sentence or sentence_order.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    num_rows = tf.size(lengths)
    place = tf.random.stateless_uniform(tf.shape(lengths), seeds[0]) * tf.cast(lengths - 1, tf.float32)
    can_cut = lengths >= 2
    num_first = tf.where(can_cut, 1 + tf.minimum(tf.cast(place, tf.int32), lengths - 2), lengths)
    heads = tf.random.stateless_uniform(tf.shape(lengths), seeds[1]) < 0.5
    rows = tf.range(num_rows)
    if objective == "sentence_order":
        swapped = heads & can_cut
        sources, follows = tf.stack([rows, rows]), ~swapped
    else:
        shift = tf.random.stateless_uniform([], seeds[2], 1, tf.maximum(num_rows, 2), dtype=tf.int32)
        other = (rows + shift) % num_rows
        is_other = heads & can_cut & tf.gather(can_cut, other) & (other != rows)
        sources = tf.stack([rows, tf.where(is_other, other, rows)])
        swapped, follows = tf.zeros_like(heads), ~is_other
    return SentencePairs(sources, swapped, num_first, tf.cast(follows, tf.int32), can_cut)


def cut_segments(
    rows: tf.RaggedTensor, pairs: SentencePairs, room: int
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The first and the second segments of a feature.

    >>> cut_segments([[5, 6, 7], [8, 9]], pairs, room=9)      # num_first [2, 1], and the second row is swapped
    [[5, 6], [9]], [[7], [8]]

    Args:
        rows: int32 [B, (T)].
        pairs: of these rows.
        room: int; the second segment loses its end where both have more tokens.
    """
    before = keep_first(rows, pairs.num_first)
    after = keep_last(rows, tf.cast(rows.row_lengths(), tf.int32) - pairs.num_first)
    both = tf.concat([before, after], axis=0)
    offset = tf.where(pairs.swapped, tf.size(pairs.labels), 0)
    first = tf.gather(both, pairs.sources[0] + offset)
    second = tf.gather(both, pairs.sources[1] + tf.size(pairs.labels) - offset)
    return first, keep_first(second, room - tf.cast(first.row_lengths(), tf.int32))
