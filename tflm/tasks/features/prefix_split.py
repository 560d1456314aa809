"""Prefix language modelling: the encoder reads the beginning of a text, the decoder continues it."""

import tensorflow as tf

from tflm.tasks.features.rows import join, keep_first


def split_prefix(
    token_ids: tf.Tensor,
    lengths: tf.Tensor,
    seed: tf.Tensor,
    *,
    start_id: int,
    separator_id: int,
    end_id: int,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Cuts each row in two at a random place (Raffel et al., 2020, section 3.2.1).

    What comes after the document that was cut, in a row of several, is left out; and only where the document ends
    in the row does the target end.

    >>> split_prefix([[5, 6, 7, 3, 8]], [5], seed, start_id=1, separator_id=3, end_id=2)     # cut before 6
    [[5, 2]], [[1, 6, 7, 2]]
    >>> split_prefix([[5, 6, 7, 3, 8]], [5], seed, start_id=1, separator_id=3, end_id=2)     # cut before 8
    [[5, 6, 7, 3, 2]], [[1, 8]]

    Args:
        token_ids: int32 [B, L], padded on the right; documents end with the separator.
        lengths: int32 [B], tokens without the padding.
        seed: int64 [2].
        start_id, separator_id, end_id: ints.
    Returns:
        Sources and targets, int32 [B, (T)]. A row of fewer than two tokens has no target but the start.
    """
    draw = tf.random.stateless_uniform(tf.shape(lengths), seed) * tf.cast(lengths - 1, tf.float32)
    cut = tf.where(lengths < 2, lengths, 1 + tf.minimum(tf.cast(draw, tf.int32), lengths - 2))[:, None]
    places = tf.range(tf.shape(token_ids)[1])[None]
    after = (places >= cut) & (places < lengths[:, None])
    is_end = after & tf.equal(token_ids, separator_id)
    same_document = tf.equal(tf.cumsum(tf.cast(is_end, tf.int32), axis=1, exclusive=True), 0)
    written, kept = tf.where(is_end, end_id, token_ids), after & same_document
    targets = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(written, kept), tf.math.count_nonzero(kept, axis=1), validate=False
    )
    rows = tf.RaggedTensor.from_tensor(token_ids, lengths=tf.cast(lengths, tf.int64))
    return join(keep_first(rows, cut[:, 0]), end_id), join(start_id, targets)
