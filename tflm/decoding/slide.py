"""The `slide` setting: where a row fills the model's context, the model reads its last half anew and goes on."""

import tensorflow as tf

from tflm.decoding.pad_left import SHORTEST, next_power_of_two
from tflm.decoding.progress import LanguageModel, Progress


def room_before_sliding(progress: Progress, max_total_length: int) -> tf.Tensor:
    """How many tokens may be read before a row slides: int32 scalar, at least 1 after `slide_full_rows`."""
    room = max_total_length - progress.num_read
    return tf.reduce_min(tf.where(_slides(progress), room, tf.int32.max))


def slide_full_rows(
    model: LanguageModel, progress: Progress, pad_id: int, max_total_length: int, to_power_of_two: bool
) -> Progress:
    """Where a row's state holds `max_total_length` tokens, all states are made anew: a full row's from the last half of
    the context, the others from all that they held.

    When a row slides depends on its own length alone, so a row's text does not depend on its neighbours.

    Args:
        to_power_of_two: whether the new states have a power of two of places, see `pad_left`.
    """
    is_full = _slides(progress) & (progress.num_read >= max_total_length)
    return tf.cond(
        tf.reduce_any(is_full),
        lambda: _read_anew(model, progress, is_full, pad_id, max(max_total_length // 2, 1), to_power_of_two),
        lambda: progress,
    )


def _slides(progress: Progress) -> tf.Tensor:
    return progress.settings["slide"] & progress.rows.is_running


def _read_anew(
    model: LanguageModel,
    progress: Progress,
    is_full: tf.Tensor,
    pad_id: int,
    num_kept: int,
    to_power_of_two: bool,
) -> Progress:
    """The tokens before the newest, as many as each row keeps, through the model again."""
    num_read = tf.where(is_full, tf.minimum(progress.num_read, num_kept), progress.num_read)
    produced = progress.token_ids[:, : progress.num_steps]
    # All but the newest token, which the next step reads.
    history = tf.concat([progress.prompt_ids, produced], axis=1)[:, :-1]
    width = tf.reduce_max(num_read)
    if to_power_of_two:
        width = next_power_of_two(width, SHORTEST)
        history = tf.pad(history, [[0, 0], [width, 0]], constant_values=-1)
    num_padding = width - num_read
    is_real = tf.range(width)[None] >= num_padding[:, None]
    history = history[:, tf.shape(history)[1] - width :]
    token_ids = tf.where(is_real & (history >= 0), history, pad_id)
    state = model.initial_state(tf.shape(token_ids)[0], width, num_padding=num_padding)
    _, state = model.step(token_ids, state, last_only=True)
    count = progress.num_steps
    return progress._replace(
        model_state=state,
        num_read=num_read,
        token_ids=produced,
        log_probabilities=progress.log_probabilities[:, :count],
    )
