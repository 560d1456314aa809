"""The `length_penalty` and `length_offset` settings of beam search: what a text is worth, and what one may become."""

import tensorflow as tf

_SMALLEST, _LARGEST = 1e-20, 1e20


def score_at_length(
    total: tf.Tensor, length: tf.Tensor, length_penalty: tf.Tensor, length_offset: tf.Tensor
) -> tf.Tensor:
    """A text's score: `total / ((length_offset + length) / (length_offset + 1)) ** length_penalty`.

    With an offset of 5 this is Wu et al. 2016, Google's Neural Machine Translation System, eq. 14; with 0 it is
    `total / length ** length_penalty` of the transformers library.

    >>> score_at_length([[-6.], [-6.], [-6.]], [4, 4, 4], length_penalty=[1., .5, 1.], length_offset=[0., 0., 5.])
    [[-1.5], [-3.], [-4.]]

    Args:
        total: float32 [B, N], what the tokens' scores add up to.
        length: int32 [B] or scalar, produced tokens, the end token counted if it came.
        length_penalty: float32 [B]. The divisor is held between 1e-20 and 1e20.
        length_offset: float32 [B], 0 or more.
    Returns:
        float32 [B, N].
    """
    ratio = (length_offset + tf.cast(length, tf.float32)) / (length_offset + 1.0)
    return total / tf.clip_by_value(ratio**length_penalty, _SMALLEST, _LARGEST)[:, None]


def best_possible_score(
    total: tf.Tensor,
    num_tokens: tf.Tensor,
    limits: tf.Tensor,
    length_penalty: tf.Tensor,
    length_offset: tf.Tensor,
) -> tf.Tensor:
    """The best score that texts which run on can end with, if no token's score is above 0.

    Then a total only falls. It is negative, so a larger divisor makes a better score. A text that now has n tokens
    ends with a length from n + 1 to its limit. With a length penalty above 0 the divisor is largest at the limit,
    otherwise at n + 1: the bound is the present total, divided as there.

    >>> best_possible_score([[-6.], [-6.]], 2, limits=[6, 6], length_penalty=[1., -1.], length_offset=[0., 0.])
    [[-1.], [-18.]]

    Args:
        total: float32 [B, N].
        num_tokens: int32 scalar, tokens so far.
        limits: int32 [B].
        length_penalty, length_offset: float32 [B].
    Returns:
        float32 [B, N].
    """
    length = tf.where(length_penalty > 0.0, limits, num_tokens + 1)
    return score_at_length(total, length, length_penalty, length_offset)
