"""Left padding of prompts, and the sliding window: where a row fills the context, the model re-reads its last half."""

import tensorflow as tf

from tflm.generation.state import GenerationState, GenerativeModel

_MIN_WIDTH = 16
"""The smallest width that is a power of two."""


def pad_left(
    prompts: tf.RaggedTensor, pad_id: int, to_power_of_two: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Prompts of different lengths as one tensor, aligned on the right, so that all rows are written at one index.

    >>> pad_left([[1, 7, 8], [1]], pad_id=0)
    [[1, 7, 8], [0, 0, 1]], [0, 2]

    Args:
        prompts: int32 [B, (P)].
        pad_id: int.
        to_power_of_two: whether P is a power of two, at least 16, so that there are few shapes; otherwise it is the
            length of the longest prompt.
    Returns:
        token_ids int32 [B, P], num_padding int32 [B].
    """
    reversed_ids = tf.reverse(prompts, axis=[1]).to_tensor(pad_id)
    token_ids = tf.reverse(reversed_ids, axis=[1])
    if to_power_of_two:
        longest = tf.shape(token_ids)[1]
        left = next_power_of_two(longest, _MIN_WIDTH) - longest
        token_ids = tf.pad(token_ids, [[0, 0], [left, 0]], constant_values=pad_id)
    return token_ids, tf.shape(token_ids)[1] - tf.cast(prompts.row_lengths(), tf.int32)


def next_power_of_two(count: tf.Tensor, least: int) -> tf.Tensor:
    """The smallest power of two that is at least `count`, int32 scalar, and at least `least`, itself a power of two."""
    powers = 2 ** tf.range(least.bit_length() - 1, 31)
    return tf.reduce_min(tf.where(powers >= count, powers, tf.int32.max))


def room_before_sliding(state: GenerationState, max_total_length: int) -> tf.Tensor:
    """Number of tokens that can be read before a row slides: int32 scalar, at least 1 after `slide_full_rows`."""
    room = max_total_length - state.num_read
    return tf.reduce_min(tf.where(_slides(state), room, tf.int32.max))


def slide_full_rows(
    model: GenerativeModel, state: GenerationState, pad_id: int, max_total_length: int, to_power_of_two: bool
) -> GenerationState:
    """Where the model's state of some row holds `max_total_length` tokens, recomputes the states of all rows: of a full
    row from the last half of its context, of the others from all their tokens.

    When a row slides depends on its own length alone, so a row's text does not depend on its neighbours.

    Args:
        model: a GenerativeModel without an encoder.
        state: the generation state.
        pad_id: int.
        max_total_length: the context length.
        to_power_of_two: whether the new states have a power of two of positions, see `pad_left`.
    """
    is_full = _slides(state) & (state.num_read >= max_total_length)
    num_kept = max(max_total_length // 2, 1)
    return tf.cond(
        tf.reduce_any(is_full),
        lambda: _recompute(model, state, is_full, pad_id, num_kept, to_power_of_two),
        lambda: state,
    )


def _slides(state: GenerationState) -> tf.Tensor:
    return state.settings["slide"] & state.rows.is_running


def _recompute(
    model: GenerativeModel,
    state: GenerationState,
    is_full: tf.Tensor,
    pad_id: int,
    num_kept: int,
    to_power_of_two: bool,
) -> GenerationState:
    """The model reads the kept tokens of each row, without the newest, in one step."""
    num_read = tf.where(is_full, tf.minimum(state.num_read, num_kept), state.num_read)
    generated = state.token_ids[:, : state.num_steps]
    # All but the newest token, which the next step reads.
    history = tf.concat([state.prompt_ids, generated], axis=1)[:, :-1]
    width = tf.reduce_max(num_read)
    if to_power_of_two:
        width = next_power_of_two(width, _MIN_WIDTH)
        history = tf.pad(history, [[0, 0], [width, 0]], constant_values=-1)
    num_padding = width - num_read
    is_real = tf.range(width)[None] >= num_padding[:, None]
    history = history[:, tf.shape(history)[1] - width :]
    token_ids = tf.where(is_real & (history >= 0), history, pad_id)
    model_state = model.initial_state(tf.shape(token_ids)[0], width, num_padding=num_padding)
    _, model_state = model.step(token_ids, model_state, last_only=True)
    return state._replace(
        model_state=model_state,
        num_read=num_read,
        token_ids=generated,
        log_probabilities=state.log_probabilities[:, : state.num_steps],
    )
