"""Penalties on repetition: repetition penalty, frequency and presence penalty, and no repeated n-grams."""

import tensorflow as tf

from tflm.generation.logit_pipeline import LogitPipeline

PENALTIES = LogitPipeline()

_MIN_FACTOR, _MAX_FACTOR = 1e-20, 1e20
_MAX_PENALTY = 1e30


@PENALTIES.register(is_on=lambda repetition_penalty: repetition_penalty != 1.0)
def penalize_repetition(
    logits: tf.Tensor, prompt_ids: tf.Tensor, token_ids: tf.Tensor, repetition_penalty: tf.Tensor
) -> tf.Tensor:
    """Repetition penalty (Keskar et al., 2019, CTRL, section 4.1): tokens of the prompt and of the generated text
    become less likely, however often they occur.

    A positive logit is divided by the penalty. A negative one is multiplied, since a division would make it more
    likely.

    >>> penalize_repetition([[4., -4., 4.]], prompt_ids=[[0]], token_ids=[[1, -1]], repetition_penalty=[2.])
    [[2., -8., 4.]]

    Args:
        logits: float32 [B, V].
        prompt_ids: int32 [B, P]; -1 is padding.
        token_ids: int32 [B, N]; -1 is padding.
        repetition_penalty: float32 [B]; 1, 0 or less and NaN are off, below 1 rewards repetition. Clipped to 1e-20 to
            1e20, since 0 times infinity is NaN.
    Returns:
        float32 [B, V].
    """
    is_seen = count_tokens(tf.concat([prompt_ids, token_ids], axis=1), tf.shape(logits)[-1]) > 0
    factor = tf.where(
        repetition_penalty > 0.0, tf.clip_by_value(repetition_penalty, _MIN_FACTOR, _MAX_FACTOR), 1.0
    )[:, None]
    penalized = tf.where(logits > 0.0, logits / factor, logits * factor)
    return tf.where(is_seen, penalized, logits)


@PENALTIES.register(
    is_on=lambda frequency_penalty, presence_penalty: (frequency_penalty != 0.0) | (presence_penalty != 0.0)
)
def penalize_frequency(
    logits: tf.Tensor, token_ids: tf.Tensor, frequency_penalty: tf.Tensor, presence_penalty: tf.Tensor
) -> tf.Tensor:
    """Frequency and presence penalty (OpenAI API reference): one is subtracted for each occurrence of a token in the
    generated text, the other once if it occurs. The prompt does not count.

    `logits - counts * frequency_penalty - (counts > 0) * presence_penalty`.

    >>> penalize_frequency([[5., 5., 5.]], [[2, 1, 2, 2]], frequency_penalty=[0.5], presence_penalty=[1.])
    [[5., 3.5, 2.5]]

    Args:
        logits: float32 [B, V].
        token_ids: int32 [B, N], the generated tokens; -1 is padding.
        frequency_penalty: float32 [B]; 0 or NaN is off, below 0 rewards repetition.
        presence_penalty: float32 [B]; likewise.
    Returns:
        float32 [B, V].
    """
    counts = count_tokens(token_ids, tf.shape(logits)[-1])
    per_occurrence = _finite(frequency_penalty)[:, None]
    once = _finite(presence_penalty)[:, None]
    return logits - counts * per_occurrence - tf.where(counts > 0.0, once, 0.0)


@PENALTIES.register(is_on=lambda no_repeat_ngram_size: no_repeat_ngram_size > 0)
def forbid_repeated_ngrams(
    logits: tf.Tensor,
    prompt_ids: tf.Tensor,
    token_ids: tf.Tensor,
    num_tokens: tf.Tensor,
    no_repeat_ngram_size: tf.Tensor,
) -> tf.Tensor:
    """No repeated n-grams (Paulus et al., 2017, A Deep Reinforced Model for Abstractive Summarization, section 2.5):
    masks every token that would complete an n-gram of the prompt or the generated text.

    The running rows have generated the same number of tokens. See `mask_repeated_ngrams`.

    Args:
        logits: float32 [B, V].
        prompt_ids: int32 [B, P]; -1 is padding on the left.
        token_ids: int32 [B, N]; -1 is padding on the right.
        num_tokens: int32 [B], generated tokens.
        no_repeat_ngram_size: int32 [B]; 0 or less is off, 1 allows every token once.
    Returns:
        float32 [B, V].
    """
    history = tf.concat([prompt_ids, token_ids], axis=1)
    width = tf.shape(prompt_ids)[1] + tf.reduce_max(num_tokens)
    return mask_repeated_ngrams(logits, history, width, no_repeat_ngram_size)


def mask_repeated_ngrams(
    logits: tf.Tensor, history: tf.Tensor, width: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """Masks every token that follows an earlier occurrence of the last `size - 1` tokens of the history.

    All positions are compared at once, one distance after the other.

    >>> mask_repeated_ngrams([[1., 1., 1., 1.]], [[-1, 2, 3, 0, 2]], width=5, size=[2])      # 3 followed 2
    [[1., 1., 1., -inf]]

    Args:
        logits: float32 [B, V].
        history: int32 [B, H]; -1 is padding.
        width: int32 scalar, number of columns in use; the last of them holds the newest token.
        size: int32 [B]; 0 or less is off, 1 allows every token once.
    Returns:
        float32 [B, V].
    """
    places = tf.range(tf.shape(history)[1])

    def compare(distance: tf.Tensor, is_repeated: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        newest = tf.gather(history, [width - distance], axis=1)
        before = tf.roll(history, distance, axis=1)
        is_same = (before == newest) & (places >= distance)
        return distance + 1, is_repeated & (is_same | (distance >= size[:, None]))

    # At distance `width` nothing matches, so a larger size needs no further step.
    last = tf.minimum(tf.reduce_max(size) - 1, width)
    is_repeated = (size > 0)[:, None] & (places < width)
    _, is_repeated = tf.while_loop(
        lambda distance, is_repeated: distance <= last, compare, (tf.constant(1), is_repeated)
    )
    return mask_ids(logits, tf.where(is_repeated, history, -1))


def mask_ids(logits: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    """Masks the listed tokens.

    >>> mask_ids([[5., 6., 7.], [5., 6., 7.]], [[1, 2], [0, -1]])
    [[5., -inf, -inf], [-inf, 6., 7.]]

    Args:
        logits: float32 [B, V].
        token_ids: int32 [B, N]; ids outside the vocabulary, such as -1, are ignored.
    Returns:
        float32 [B, V].
    """
    is_listed = count_tokens(token_ids, tf.shape(logits)[-1]) > 0.0
    return tf.where(is_listed, float("-inf"), logits)


def count_tokens(token_ids: tf.Tensor, vocab_size: int | tf.Tensor) -> tf.Tensor:
    """Number of occurrences of each vocabulary token in each row.

    >>> count_tokens([[1, 3, 1], [0, -1, -1]], vocab_size=4)
    [[0., 2., 0., 1.], [1., 0., 0., 0.]]

    Args:
        token_ids: int32 [B, N]; ids outside the vocabulary, such as -1, are ignored.
        vocab_size: int or int32 scalar.
    Returns:
        float32 [B, V].
    """
    is_token = (token_ids >= 0) & (token_ids < vocab_size)
    rows = tf.zeros_like(token_ids) + tf.range(tf.shape(token_ids)[0])[:, None]
    # An index out of range is an error on a CPU, so ignored ids add 0 to token 0.
    places = tf.stack([rows, tf.where(is_token, token_ids, 0)], axis=-1)
    return tf.scatter_nd(places, tf.cast(is_token, tf.float32), [tf.shape(token_ids)[0], vocab_size])


def _finite(penalty: tf.Tensor) -> tf.Tensor:
    """Infinity becomes a large number, since a count of 0 times infinity is NaN; NaN becomes 0."""
    return tf.where(tf.math.is_nan(penalty), 0.0, tf.clip_by_value(penalty, -_MAX_PENALTY, _MAX_PENALTY))
