"""The `no_repeat_ngram_size` setting: no sequence of so many tokens comes twice."""

import tensorflow as tf

from tflm.decoding.banned_ids import ban


def forbid_repeated_ngrams(
    logits: tf.Tensor, history: tf.Tensor, width: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """Makes every token impossible that would complete an n-gram which the row already has.

    A token is such if it stands in the history behind the same `size - 1` tokens that now stand last. All places
    of the history are compared at once, one distance after the other. Source: Paulus et al. 2017, A Deep
    Reinforced Model for Abstractive Summarization, section 2.5 (there trigrams); prompt and text both count, as
    in the transformers library.

    >>> forbid_repeated_ngrams([[1., 1., 1., 1.]], [[-1, 2, 3, 0, 2]], width=5, size=[2])      # 2 was followed by 3
    [[1., 1., 1., -inf]]

    Args:
        logits: float32 [B, V].
        history: int32 [B, H]; -1 is no token.
        width: int32 scalar, how many columns of the history are filled; the newest token stands last in them.
        size: int32 [B]; 0 or less is off, 1 lets no token come twice.
    Returns:
        float32 [B, V].
    """
    places = tf.range(tf.shape(history)[1])

    def compare(distance: tf.Tensor, is_repeated: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        newest = tf.gather(history, [width - distance], axis=1)
        before = tf.roll(history, distance, axis=1)
        is_same = (before == newest) & (places >= distance)
        return distance + 1, is_repeated & (is_same | (distance >= size[:, None]))

    # At distance `width` nothing is the same any more, so a larger size needs no further step.
    last = tf.minimum(tf.reduce_max(size) - 1, width)
    is_repeated = (size > 0)[:, None] & (places < width)
    _, is_repeated = tf.while_loop(
        lambda distance, is_repeated: distance <= last, compare, (tf.constant(1), is_repeated)
    )
    return ban(logits, tf.where(is_repeated, history, -1))
