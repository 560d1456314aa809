"""What the loop knows of each row, and how one more token changes it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from tflm.decoding.choose import choose, possible_logits


class Rows(NamedTuple):
    """The state of every row between two steps."""

    token_ids: tf.Tensor
    """int32 [B]: the newest token, which the model reads next. pad_id in a row that has stopped."""
    is_running: tf.Tensor
    """bool [B]."""
    has_ended: tf.Tensor
    """bool [B]: the end token came."""
    has_stopped: tf.Tensor
    """bool [B]: a stop text came."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens produced, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: their sum, with the end token's."""


class Rules(NamedTuple):
    """What stays the same from step to step."""

    settings: Mapping[str, tf.Tensor]
    limits: tf.Tensor
    """int32 [B]: tokens that a row may produce."""
    prompt_ids: tf.Tensor
    """int32 [B, P]; -1 is none."""
    choice_ids: tf.Tensor
    """int32 [B, C, L]; see `keep_choices`."""
    suppressed_ids: Sequence[int]
    """Tokens that are never chosen."""
    end_id: int
    pad_id: int


def start_rows(limits: tf.Tensor, pad_id: int) -> Rows:
    """Rows that have produced nothing; those with a limit of 0 have stopped.

    Args:
        limits: int32 [B].
        pad_id: int.
    """
    zeros = tf.zeros_like(limits)
    return Rows(
        token_ids=zeros + pad_id,
        is_running=limits > 0,
        has_ended=zeros > 0,
        has_stopped=zeros > 0,
        num_tokens=zeros,
        log_probability=tf.zeros_like(zeros, tf.float32),
    )


def append_token(
    rows: Rows, token_ids: tf.Tensor, logits: tf.Tensor, uniform: tf.Tensor, rules: Rules
) -> tuple[Rows, tf.Tensor, tf.Tensor]:
    """Chooses a token for every row and tells what follows from it. Stopped rows stay as they are.

    A row stops at the end token or when it reaches its limit. `log_probability` grows by the log-softmax of
    the logits as the model gave them, not as the settings changed them.

    Args:
        rows: Rows.
        token_ids: int32 [B, N], produced before; -1 is none.
        logits: float32 [B, V].
        uniform: float64 [B].
        rules: Rules.
    Returns:
        Rows; the new tokens int32 [B], -1 in rows that produced none; and their log-probabilities float32 [B], also of
        an end token, 0 in stopped rows.
    """
    possible = possible_logits(
        logits,
        rules.settings,
        prompt_ids=rules.prompt_ids,
        token_ids=token_ids,
        num_tokens=rows.num_tokens,
        choice_ids=rules.choice_ids,
        suppressed_ids=rules.suppressed_ids,
        end_id=rules.end_id,
    )
    tokens = choose(possible, uniform, rules.settings, rules.end_id)
    chosen = tf.gather(logits, tokens[:, None], batch_dims=1)[:, 0]
    log_probability = tf.where(rows.is_running, chosen - tf.reduce_logsumexp(logits, axis=-1), 0.0)
    is_produced = rows.is_running & (tokens != rules.end_id)
    num_tokens = rows.num_tokens + tf.cast(is_produced, tf.int32)
    rows = Rows(
        token_ids=tf.where(is_produced, tokens, rules.pad_id),
        is_running=is_produced & (num_tokens < rules.limits),
        has_ended=rows.has_ended | (rows.is_running & ~is_produced),
        has_stopped=rows.has_stopped,
        num_tokens=num_tokens,
        log_probability=rows.log_probability + log_probability,
    )
    return rows, tf.where(is_produced, tokens, -1), log_probability
