"""What a round of speculative sampling keeps: how many drafted tokens, and what comes behind the text."""

import tensorflow as tf

from tflm.decoding.progress import Progress, Vocabulary
from tflm.decoding.sample import sample


def accept(
    wanted: tf.Tensor,
    proposed: tf.Tensor,
    drafted: tf.Tensor,
    num_draft: tf.Tensor,
    accept_numbers: tf.Tensor,
    draw_numbers: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """How many drafted tokens each row keeps, and the tokens with the one that comes after those.

    A row drafted token 1 with certainty, and then 0; the model wants them with probability 0.5 and 0. The first is
    accepted, as 0.4 is below 0.5 / 1; the second is not, and 0.9 draws from what [0., 1.] has over [1., 0.]:

    >>> accept([[[0.5, 0.5], [0., 1.], [1., 0.]]], [[[0., 1.], [1., 0.]]], [[1, 0]], [2], [[0.4, 0.4]], [[0.9] * 3])
    [[1, 1, ...]], [1]

    Args:
        wanted: float32 [B, K + 1, V], the model's distribution at each place.
        proposed: float32 [B, K, V], what each drafted token was drawn from.
        drafted: int32 [B, K].
        num_draft: int32 [B], how many of these count.
        accept_numbers: float64 [B, K]; draw_numbers: float64 [B, K + 1]; from 0 inclusive to 1 exclusive.
    Returns:
        int32 [B, K + 1], of which the first `num_accepted` + 1 count, and num_accepted int32 [B].
    """
    count = tf.shape(drafted)[1]
    places = tf.range(count + 1)[None]
    p, q = (
        tf.cast(tf.gather(each[:, :count], drafted[:, :, None], batch_dims=2)[:, :, 0], tf.float64)
        for each in (wanted, proposed)
    )
    is_kept = (places[:, :-1] < num_draft[:, None]) & (accept_numbers * q < p)
    num_accepted = tf.reduce_sum(tf.math.cumprod(tf.cast(is_kept, tf.int32), axis=1), axis=1)
    wanted = tf.gather(wanted, num_accepted, batch_dims=1)
    proposed = tf.gather(proposed, tf.minimum(num_accepted, count - 1), batch_dims=1)
    was_refused = (num_accepted < num_draft)[:, None]
    over = tf.maximum(wanted - tf.where(was_refused, proposed, 0.0), 0.0)
    # Of two distributions equal but for rounding nothing may be left.
    over = tf.where(tf.reduce_sum(over, axis=1, keepdims=True) > 0.0, over, wanted)
    drawn = sample(tf.math.log(over), tf.gather(draw_numbers, num_accepted, batch_dims=1))
    tokens = tf.pad(drafted, [[0, 0], [0, 1]])
    return tf.where(places == num_accepted[:, None], drawn[:, None], tokens), num_accepted


def append_accepted(
    now: Progress, tokens: tf.Tensor, num_accepted: tf.Tensor, logits: tf.Tensor, vocabulary: Vocabulary
) -> tuple[Progress, tf.Tensor]:
    """The first `num_accepted` + 1 of int32 [B, K + 1], up to an end token or a row's limit, behind the texts; and how
    many were kept, int32 [B], with the end token. float32 [B, K + 1, V] are the model's logits."""
    rows, places = now.rows, tf.range(tf.shape(tokens)[1])[None]
    possible = tf.where(rows.is_running, tf.minimum(num_accepted + 1, now.limits - rows.num_tokens), 0)
    is_end = (tokens == vocabulary.end_id) & (places < possible[:, None])
    num_new = tf.reduce_min(tf.where(is_end, places, possible[:, None]), axis=1)
    has_ended = tf.reduce_any(is_end, axis=1)
    num_kept = num_new + tf.cast(has_ended, tf.int32)
    chosen = tf.gather(logits, tokens[:, :, None], batch_dims=2)[:, :, 0]
    log_probabilities = chosen - tf.reduce_logsumexp(logits, axis=-1)
    log_probabilities = tf.where(places < num_kept[:, None], log_probabilities, 0.0)

    # Where in `tokens` what belongs into each column of the text stands.
    source = tf.range(tf.shape(now.token_ids)[1])[None] - rows.num_tokens[:, None]
    inside = tf.clip_by_value(source, 0, tf.shape(tokens)[1] - 1)

    def put(old: tf.Tensor, new: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        is_new = (source >= 0) & (source < count[:, None])
        return tf.where(is_new, tf.gather(new, inside, batch_dims=1), old)

    num_tokens = rows.num_tokens + num_new
    is_running = rows.is_running & ~has_ended & (num_tokens < now.limits)
    newest = tf.gather(tokens, num_accepted, batch_dims=1)
    rows = rows._replace(
        token_ids=tf.where(is_running, newest, vocabulary.pad_id),
        is_running=is_running,
        has_ended=rows.has_ended | has_ended,
        num_tokens=num_tokens,
        log_probability=rows.log_probability + tf.reduce_sum(log_probabilities, axis=1),
    )
    now = now._replace(
        rows=rows,
        token_ids=put(now.token_ids, tokens, num_new),
        log_probabilities=put(now.log_probabilities, log_probabilities, num_kept),
        num_steps=tf.reduce_max(num_tokens),
    )
    return now, num_kept
