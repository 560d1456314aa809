"""The `forced_ids` setting: the text begins with given tokens, or has them at given places."""

import tensorflow as tf


def force(logits: tf.Tensor, forced_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
    """Leaves only the token possible that the row's list has at the place which is now chosen.

    Its logit stays, so that the filters after this one find a number; one that was impossible becomes 0, so
    that this setting wins over everything before it.

    >>> force([[5., 6., 7.], [5., 6., 7.]], [[2, 0], [2, -1]], num_tokens=[1, 1])
    [[5., -inf, -inf], [5., 6., 7.]]

    Args:
        logits: float32 [B, V].
        forced_ids: int32 [B, N], for each place of the produced text; where it is -1 or anything else outside
            the vocabulary, and after the last place, the row is free.
        num_tokens: int32 [B], produced so far.
    Returns:
        float32 [B, V].
    """
    num_places, vocab_size = tf.shape(forced_ids)[1], tf.shape(logits)[-1]
    with_end = tf.pad(forced_ids, [[0, 0], [0, 1]], constant_values=-1)
    forced = tf.gather(with_end, tf.minimum(num_tokens, num_places)[:, None], batch_dims=1)
    is_forced = (forced >= 0) & (forced < vocab_size)
    kept = tf.where(tf.math.is_finite(logits), logits, 0.0)
    only = tf.where(tf.range(vocab_size) == forced, kept, float("-inf"))
    return tf.where(is_forced, only, logits)
