"""The choice of one token for each row: which tokens are possible, then the likeliest or a draw."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tflm.decoding.banned_ids import ban
from tflm.decoding.choices import keep_choices
from tflm.decoding.count_penalties import count_tokens, penalize_counts
from tflm.decoding.forced_ids import force
from tflm.decoding.min_new_tokens import forbid_early_end
from tflm.decoding.min_p import keep_min_p
from tflm.decoding.no_repeat_ngram import forbid_repeated_ngrams
from tflm.decoding.repetition_penalty import penalize_seen
from tflm.decoding.sample import sample
from tflm.decoding.temperature import scale_by_temperature
from tflm.decoding.top_k import keep_top_k
from tflm.decoding.top_p import keep_top_p
from tflm.decoding.typical_p import keep_typical


def choose(
    possible: tf.Tensor, uniform: tf.Tensor, settings: Mapping[str, tf.Tensor], end_id: int
) -> tf.Tensor:
    """One token for each row.

    Rows of temperature 0 take the likeliest token, the first one among equals. A row that has no possible token left
    ends.

    Args:
        possible: float32 [B, V], from `possible_logits`.
        uniform: float64 [B], one random number for each row.
        settings: see `settings_tensors`.
        end_id: int.
    Returns:
        int32 [B].
    """
    best = tf.math.top_k(possible, 1)  # the first among equals, which tf.argmax does not promise
    greedy = best.indices[:, 0]
    is_random = settings["temperature"] > 0.0
    tokens = _if_any(
        is_random,
        greedy,
        lambda x: tf.where(is_random, sample(sampled_logits(possible, settings), uniform), x),
    )
    return tf.where(best.values[:, 0] > float("-inf"), tokens, end_id)


def possible_logits(
    logits: tf.Tensor,
    settings: Mapping[str, tf.Tensor],
    *,
    prompt_ids: tf.Tensor,
    token_ids: tf.Tensor,
    num_tokens: tf.Tensor,
    choice_ids: tf.Tensor,
    suppressed_ids: Sequence[int],
    end_id: int,
) -> tf.Tensor:
    """The logits as penalties and prohibitions leave them; what is impossible is -inf.

    A setting that no row uses is not computed. A logit that is NaN or infinite is impossible. What stands lower here
    wins: a forced token over all else.

    Args:
        logits: float32 [B, V], as the model gave them.
        settings: a dict that has at least `repetition_penalty, frequency_penalty, presence_penalty,
            no_repeat_ngram_size, min_new_tokens, banned_ids, forced_ids`.
        prompt_ids: int32 [B, P]; -1 is none, and stands on the left.
        token_ids: int32 [B, N], produced so far; -1 is none, and stands on the right. The running rows have
            equally many.
        num_tokens: int32 [B], how many those are.
        choice_ids: int32 [B, C, L]; see `keep_choices`.
        suppressed_ids: tokens that are never chosen.
        end_id: int.
    Returns:
        float32 [B, V].
    """
    minimum, size = settings["min_new_tokens"], settings["no_repeat_ngram_size"]
    repetition = settings["repetition_penalty"]
    frequency, presence = settings["frequency_penalty"], settings["presence_penalty"]
    banned, forced = settings["banned_ids"], settings["forced_ids"]
    vocab_size = tf.shape(logits)[-1]
    is_suppressed = tf.reduce_any(
        tf.range(vocab_size) == tf.constant(suppressed_ids, tf.int32)[:, None], axis=0
    )
    logits = tf.where(tf.math.is_finite(logits) & ~is_suppressed, logits, float("-inf"))
    logits = _if_any(
        repetition != 1.0,
        logits,
        lambda x: penalize_seen(x, _seen([prompt_ids, token_ids], vocab_size), repetition),
    )
    logits = _if_any(
        (frequency != 0.0) | (presence != 0.0),
        logits,
        lambda x: penalize_counts(x, count_tokens(token_ids, vocab_size), frequency, presence),
    )
    logits = _if_any(
        size > 0,
        logits,
        lambda x: forbid_repeated_ngrams(
            x,
            tf.concat([prompt_ids, token_ids], axis=1),
            tf.shape(prompt_ids)[1] + tf.reduce_max(num_tokens),
            size,
        ),
    )
    logits = _if_any(banned >= 0, logits, lambda x: ban(x, banned))
    logits = _if_any(num_tokens < minimum, logits, lambda x: forbid_early_end(x, num_tokens, minimum, end_id))
    logits = _if_any(choice_ids >= 0, logits, lambda x: keep_choices(x, choice_ids, token_ids, num_tokens))
    return _if_any(forced >= 0, logits, lambda x: force(x, forced, num_tokens))


def _seen(parts: Sequence[tf.Tensor], vocab_size: tf.Tensor) -> tf.Tensor:
    return count_tokens(tf.concat(parts, axis=1), vocab_size) > 0


def sampled_logits(logits: tf.Tensor, settings: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The logits that are sampled from: temperature, top_k, top_p, min_p, typical_p, in this order.

    Args:
        logits: float32 [B, V].
        settings: see `settings_tensors`.
    Returns:
        float32 [B, V].
    """
    top_k, top_p = settings["top_k"], settings["top_p"]
    min_p, typical_p = settings["min_p"], settings["typical_p"]
    logits = scale_by_temperature(logits, settings["temperature"])
    logits = _if_any(top_k > 0, logits, lambda x: keep_top_k(x, top_k))
    logits = _if_any(top_p < 1.0, logits, lambda x: keep_top_p(x, top_p))
    logits = _if_any(min_p > 0.0, logits, lambda x: keep_min_p(x, min_p))
    return _if_any(typical_p < 1.0, logits, lambda x: keep_typical(x, typical_p))


def _if_any(is_on: tf.Tensor, value: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """`change(value)` if a row asks for it, otherwise `value` at no cost."""
    return tf.cond(tf.reduce_any(is_on), lambda: change(value), lambda: tf.identity(value))
