"""The `frequency_penalty` and `presence_penalty` settings: tokens the text already has become less likely."""

import tensorflow as tf

_LARGEST = 1e30


def count_tokens(token_ids: tf.Tensor, vocab_size: int | tf.Tensor) -> tf.Tensor:
    """How often each token of the vocabulary stands in each row.

    >>> count_tokens([[1, 3, 1], [0, -1, -1]], vocab_size=4)
    [[0., 2., 0., 1.], [1., 0., 0., 0.]]

    Args:
        token_ids: int32 [B, N]; -1 and everything else outside the vocabulary is not counted.
        vocab_size: int or int32 scalar.
    Returns:
        float32 [B, V].
    """
    is_token = (token_ids >= 0) & (token_ids < vocab_size)
    rows = tf.zeros_like(token_ids) + tf.range(tf.shape(token_ids)[0])[:, None]
    # A place outside the tensor is an error on a CPU, so what is no token adds nothing to token 0.
    places = tf.stack([rows, tf.where(is_token, token_ids, 0)], axis=-1)
    return tf.scatter_nd(places, tf.cast(is_token, tf.float32), [tf.shape(token_ids)[0], vocab_size])


def penalize_counts(
    logits: tf.Tensor, counts: tf.Tensor, frequency_penalty: tf.Tensor, presence_penalty: tf.Tensor
) -> tf.Tensor:
    """Lowers the logit of each token that was produced: by one amount each time, by another if at all.

    `logits - counts * frequency_penalty - (counts > 0) * presence_penalty`. Source: OpenAI API reference,
    "Frequency and presence penalties", where the prompt's tokens do not count.

    >>> penalize_counts([[5., 5., 5.]], [[0., 1., 3.]], frequency_penalty=[0.5], presence_penalty=[1.])
    [[5., 3.5, 2.5]]

    Args:
        logits: float32 [B, V].
        counts: float32 [B, V], of the produced tokens, from `count_tokens`.
        frequency_penalty: float32 [B]; 0 or NaN is off, below 0 rewards repetition.
        presence_penalty: float32 [B]; the same.
    Returns:
        float32 [B, V].
    """
    per_time = _finite(frequency_penalty)[:, None]
    once = _finite(presence_penalty)[:, None]
    return logits - counts * per_time - tf.where(counts > 0.0, once, 0.0)


def _finite(penalty: tf.Tensor) -> tf.Tensor:
    """Infinity as a large number, since none of it times infinity would be NaN."""
    return tf.where(tf.math.is_nan(penalty), 0.0, tf.clip_by_value(penalty, -_LARGEST, _LARGEST))
