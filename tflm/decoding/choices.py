"""Text that can only be one of given choices: labels, commands."""

import tensorflow as tf

from tflm.decoding.count_penalties import count_tokens


def keep_choices(
    logits: tf.Tensor, choice_ids: tf.Tensor, produced: tf.Tensor, num_tokens: tf.Tensor
) -> tf.Tensor:
    """Leaves only tokens possible that continue a choice which begins with exactly what the row has produced.

    This is a walk down the trie of the choices, without building it. A node of a trie is a beginning, the leaves
    below it are the choices with that beginning, and its children are their next tokens. So the choices that
    agree with the text so far say what may come next: comparing all of them takes C x L comparisons, fewer than
    one row of the model's output layer, and no tables that a graph would have to make for each request. The end
    token is one of the children, so a choice may be the beginning of another one.

    Choices [3, 4, 2] and [3, 5, 6, 2] where 2 is the end token, after 3:

    >>> keep_choices([[1.] * 7], [[[3, 4, 2, -1], [3, 5, 6, 2]]], produced=[[3, -1]], num_tokens=[1])
    [[-inf, -inf, -inf, -inf, 1., 1., -inf]]

    Args:
        logits: float32 [B, V].
        choice_ids: int32 [B, C, L], each with the end token, then -1. A row that is -1 throughout is free.
        produced: int32 [B, N], the tokens after the prompt, then -1.
        num_tokens: int32 [B], how many those are.
    Returns:
        float32 [B, V]. A row that has left all of its choices has no possible token.
    """
    length = tf.shape(choice_ids)[2]
    places = tf.range(length)
    # One place more, without a token, stands for all that are read behind the end.
    text = tf.pad(produced, [[0, 0], [0, 1]], constant_values=-1)
    text = tf.gather(text, tf.minimum(places, tf.shape(produced)[1]), axis=1)
    is_same = (choice_ids == text[:, None]) | (places >= num_tokens[:, None])[:, None]
    is_alive = tf.reduce_all(is_same, axis=2)
    next_ids = tf.gather(
        tf.pad(tf.transpose(choice_ids, [0, 2, 1]), [[0, 0], [0, 1], [0, 0]], constant_values=-1),
        tf.minimum(num_tokens, length)[:, None],
        batch_dims=1,
    )[:, 0]
    is_next = count_tokens(tf.where(is_alive, next_ids, -1), tf.shape(logits)[-1]) > 0.0
    is_free = tf.reduce_all(choice_ids < 0, axis=[1, 2])
    return tf.where(is_free[:, None] | is_next, logits, float("-inf"))
