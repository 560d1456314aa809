"""The `repetition_penalty` setting: tokens of the prompt and of the text so far become less likely."""

import tensorflow as tf


def penalize_seen(logits: tf.Tensor, seen: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """Divides the positive logits of seen tokens by the penalty and multiplies the others by it.

    How often a token was seen does not matter. Source: Keskar et al. 2019, CTRL, section 4.1, which divides
    all of them; that would make a negative logit more likely, so those are multiplied.

    >>> penalize_seen([[4., -4., 4.]], [[True, True, False]], [2.])
    [[2., -8., 4.]]

    Args:
        logits: float32 [B, V].
        seen: bool [B, V].
        penalty: float32 [B]; 1 or anything that is not positive is off, below 1 rewards repetition.
    Returns:
        float32 [B, V].
    """
    penalty = tf.where(penalty > 0.0, penalty, 1.0)[:, None]
    penalized = tf.where(logits > 0.0, logits / penalty, logits * penalty)
    return tf.where(seen, penalized, logits)


def prompt_tokens(prompts: tf.RaggedTensor, vocab_size: int | tf.Tensor) -> tf.Tensor:
    """Which tokens stand in each row: bool [B, V], from int32 [B, (P)].

    >>> prompt_tokens([[1, 3], [0]], vocab_size=4)
    [[False, True, False, True], [True, False, False, False]]
    """
    rows = tf.cast(prompts.value_rowids(), tf.int32)
    nothing = tf.zeros([tf.cast(prompts.nrows(), tf.int32), vocab_size], tf.bool)
    return _mark(nothing, rows, prompts.values)


def add_seen(seen: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    """Marks one more token in each row.

    >>> add_seen([[False, True], [False, False]], [0, 0])
    [[True, True], [True, False]]

    Args:
        seen: bool [B, V].
        token_ids: int32 [B].
    Returns:
        bool [B, V].
    """
    return _mark(seen, tf.range(tf.shape(token_ids)[0]), token_ids)


def _mark(seen: tf.Tensor, rows: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    places = tf.stack([rows, token_ids], axis=-1)
    return tf.tensor_scatter_nd_update(seen, places, tf.ones_like(rows, tf.bool))
