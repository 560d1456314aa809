"""The choice of one token for each row: which tokens are possible, then the likeliest or a draw."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from tflm.decoding.min_new_tokens import forbid_early_end
from tflm.decoding.min_p import keep_min_p
from tflm.decoding.repetition_penalty import penalize_seen
from tflm.decoding.sample import sample
from tflm.decoding.temperature import scale_by_temperature
from tflm.decoding.top_k import keep_top_k
from tflm.decoding.top_p import keep_top_p


def choose(
    logits: tf.Tensor,
    uniform: tf.Tensor,
    settings: Mapping[str, tf.Tensor],
    *,
    num_tokens: tf.Tensor,
    seen: tf.Tensor,
    suppressed: tf.Tensor,
    end_id: int,
) -> tf.Tensor:
    """One token for each row.

    Rows of temperature 0 take the likeliest token, the first one among equals. A setting that no row uses is
    not computed. A logit that is NaN or infinite is never chosen; a row that has no possible token left ends.

    Args:
        logits: float32 [B, V], as the model gave them.
        uniform: float64 [B], one random number for each row.
        settings: see `settings_tensors`.
        num_tokens: int32 [B], produced so far.
        seen: bool [B, V], tokens of the prompt and of the text so far.
        suppressed: bool [V], tokens that are never chosen.
        end_id: int.
    Returns:
        int32 [B].
    """
    possible = tf.where(tf.math.is_finite(logits) & ~suppressed, logits, float("-inf"))
    penalty, minimum = settings["repetition_penalty"], settings["min_new_tokens"]
    possible = _if_any(penalty != 1.0, possible, lambda x: penalize_seen(x, seen, penalty))
    possible = _if_any(
        num_tokens < minimum, possible, lambda x: forbid_early_end(x, num_tokens, minimum, end_id)
    )
    best = tf.math.top_k(possible, 1)  # the first among equals, which tf.argmax does not promise
    greedy = best.indices[:, 0]
    is_random = settings["temperature"] > 0.0
    tokens = _if_any(
        is_random,
        greedy,
        lambda x: tf.where(is_random, sample(sampled_logits(possible, settings), uniform), x),
    )
    return tf.where(best.values[:, 0] > float("-inf"), tokens, end_id)


def sampled_logits(logits: tf.Tensor, settings: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The logits that are sampled from: temperature, top_k, top_p, min_p, in this order.

    Args:
        logits: float32 [B, V].
        settings: see `settings_tensors`.
    Returns:
        float32 [B, V].
    """
    top_k, top_p, min_p = settings["top_k"], settings["top_p"], settings["min_p"]
    logits = scale_by_temperature(logits, settings["temperature"])
    logits = _if_any(top_k > 0, logits, lambda x: keep_top_k(x, top_k))
    logits = _if_any(top_p < 1.0, logits, lambda x: keep_top_p(x, top_p))
    return _if_any(min_p > 0.0, logits, lambda x: keep_min_p(x, min_p))


def _if_any(is_on: tf.Tensor, value: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """`change(value)` if a row asks for it, otherwise `value` at no cost."""
    return tf.cond(tf.reduce_any(is_on), lambda: change(value), lambda: tf.identity(value))
