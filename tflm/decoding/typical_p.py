"""The `typical_p` setting: sample from the tokens that are about as surprising as the model expects."""

import tensorflow as tf

from tflm.decoding.keep_first import keep_first


def keep_typical(logits: tf.Tensor, typical_p: tf.Tensor) -> tf.Tensor:
    """Makes every token impossible that is outside the locally typical set.

    A token's surprise is -log of its probability, and the entropy is the surprise expected. From the token whose
    surprise is nearest to it outward, a token stays while those before it have less than `typical_p` in sum; the
    first always stays, and the likeliest may go. Tokens exactly as far off as the last one kept stay too, such
    as those with the same logit. Source: Meister et al. 2022, Locally Typical Sampling, section 3.3.

    The entropy is 0.90, the surprises 2.30, 0.51 and 1.20:

    >>> keep_typical(log([[0.1, 0.6, 0.3]]), [0.5])
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V]; -inf is an impossible token, which does not enter the entropy.
        typical_p: float32 [B]; 1 or more is off, 0 or less keeps the most typical token.
    Returns:
        float32 [B, V].
    """
    log_probabilities = tf.nn.log_softmax(logits)
    probabilities = tf.exp(log_probabilities)
    terms = tf.math.multiply_no_nan(log_probabilities, probabilities)
    nearness = -tf.abs(log_probabilities - tf.reduce_sum(terms, axis=-1, keepdims=True))
    order = tf.where(logits > float("-inf"), nearness, float("-inf"))
    limit = tf.where(typical_p < 1.0, typical_p, float("inf"))
    return keep_first(logits, order, probabilities, limit)
