"""Hard constraints on the next token: banned tokens, minimum length, given choices, forced tokens.

Applied in this order; a later one wins. Masked tokens have a logit of -inf.
"""

from collections.abc import Sequence

import tensorflow as tf

from tflm.generation.logit_pipeline import LogitPipeline
from tflm.generation.penalties import count_tokens, mask_ids

CONSTRAINTS = LogitPipeline()


@CONSTRAINTS.register(is_on=lambda banned_ids: banned_ids >= 0)
def ban(logits: tf.Tensor, banned_ids: tf.Tensor) -> tf.Tensor:
    """Masks the banned tokens.

    >>> ban([[5., 6., 7.], [5., 6., 7.]], [[1, 2], [0, -1]])
    [[5., -inf, -inf], [-inf, 6., 7.]]

    Args:
        logits: float32 [B, V].
        banned_ids: int32 [B, N]; ids outside the vocabulary, such as -1, are ignored.
    Returns:
        float32 [B, V].
    """
    return mask_ids(logits, banned_ids)


def is_end(tokens: tf.Tensor, end_ids: Sequence[int]) -> tf.Tensor:
    """Which of int32 [...] are one of `end_ids`: bool [...].

    >>> is_end([7, 2, 9], end_ids=(2, 9))
    [False, True, True]
    """
    found = tf.equal(tokens, end_ids[0])
    for other in end_ids[1:]:
        found |= tf.equal(tokens, other)
    return found


@CONSTRAINTS.register(is_on=lambda num_tokens, min_new_tokens: num_tokens < min_new_tokens)
def forbid_early_end(
    logits: tf.Tensor, num_tokens: tf.Tensor, min_new_tokens: tf.Tensor, end_ids: Sequence[int]
) -> tf.Tensor:
    """Masks the end tokens in rows with fewer than `min_new_tokens` generated tokens.

    >>> forbid_early_end([[5., 6.], [5., 6.]], [0, 3], [3, 3], end_ids=(1,))
    [[5., -inf], [5., 6.]]

    Args:
        logits: float32 [B, V].
        num_tokens: int32 [B], generated tokens.
        min_new_tokens: int32 [B].
        end_ids: ints.
    Returns:
        float32 [B, V].
    """
    ends = is_end(tf.range(tf.shape(logits)[-1]), end_ids)
    is_early = num_tokens < min_new_tokens
    return tf.where(is_early[:, None] & ends, float("-inf"), logits)


@CONSTRAINTS.register(is_on=lambda choice_ids: choice_ids >= 0)
def keep_choices(
    logits: tf.Tensor, choice_ids: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor
) -> tf.Tensor:
    """Keeps only tokens that continue a choice whose prefix equals the generated text.

    This walks the trie of the choices without building it. A node of the trie is a prefix, the leaves below it are the
    choices with that prefix, and its children are their next tokens. Comparing all choices with the generated text
    takes C x L comparisons, fewer than one row of the model's output layer, and needs no tables built for each request.
    The end token is one of the children, so a choice may be the prefix of another.

    Choices [3, 4, 2] and [3, 5, 6, 2] where 2 is the end token, after 3:

    >>> keep_choices([[1.] * 7], [[[3, 4, 2, -1], [3, 5, 6, 2]]], token_ids=[[3, -1]], num_tokens=[1])
    [[-inf, -inf, -inf, -inf, 1., 1., -inf]]

    Args:
        logits: float32 [B, V].
        choice_ids: int32 [B, C, L], each with the end token, padded with -1. A row of -1 is unconstrained.
        token_ids: int32 [B, N], the generated tokens, padded with -1.
        num_tokens: int32 [B], their number.
    Returns:
        float32 [B, V]. In a row whose text is no prefix of a choice every token is masked.
    """
    length = tf.shape(choice_ids)[2]
    places = tf.range(length)
    # One column of padding is read for every position after the end of `token_ids`.
    text = tf.pad(token_ids, [[0, 0], [0, 1]], constant_values=-1)
    text = tf.gather(text, tf.minimum(places, tf.shape(token_ids)[1]), axis=1)
    is_same = (choice_ids == text[:, None]) | (places >= num_tokens[:, None])[:, None]
    is_prefix = tf.reduce_all(is_same, axis=2)
    next_ids = tf.gather(
        tf.pad(tf.transpose(choice_ids, [0, 2, 1]), [[0, 0], [0, 1], [0, 0]], constant_values=-1),
        tf.minimum(num_tokens, length)[:, None],
        batch_dims=1,
    )[:, 0]
    is_next = count_tokens(tf.where(is_prefix, next_ids, -1), tf.shape(logits)[-1]) > 0.0
    is_free = tf.reduce_all(choice_ids < 0, axis=[1, 2])
    return tf.where(is_free[:, None] | is_next, logits, float("-inf"))


@CONSTRAINTS.register(is_on=lambda forced_ids: forced_ids >= 0)
def force(logits: tf.Tensor, forced_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
    """Masks all tokens but the one that `forced_ids` has at the current position.

    Its logit is kept; if it was masked it becomes 0, so that a forced token overrides every other constraint.

    >>> force([[5., 6., 7.], [5., 6., 7.]], [[2, 0], [2, -1]], num_tokens=[1, 1])
    [[5., -inf, -inf], [5., 6., 7.]]

    Args:
        logits: float32 [B, V].
        forced_ids: int32 [B, N], one for each position of the generated text. A position with an id outside the
            vocabulary, such as -1, is free, and so are those after the last.
        num_tokens: int32 [B], generated tokens.
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
