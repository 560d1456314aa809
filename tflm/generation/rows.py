"""The per-row part of the generation state: newest token, stopping flags, counts and log-probability."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tflm.generation.constraints import is_end
from tflm.generation.sampling import LoopInvariants, choose, process_logits


class Rows(NamedTuple):
    """The state of each row between two steps."""

    token_ids: tf.Tensor
    """int32 [B]: the newest token, which the model reads next. pad_id in a row that has stopped."""
    is_running: tf.Tensor
    """bool [B]."""
    has_ended: tf.Tensor
    """bool [B]: the end token was generated."""
    has_stopped: tf.Tensor
    """bool [B]: a stop string was generated."""
    num_tokens: tf.Tensor
    """int32 [B]: generated tokens, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: the sum over these tokens and the end token."""


def start_rows(limits: tf.Tensor, pad_id: int) -> Rows:
    """Rows without generated tokens; those with a limit of 0 have stopped.

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
    rows: Rows, token_ids: tf.Tensor, logits: tf.Tensor, uniform: tf.Tensor, invariants: LoopInvariants
) -> tuple[Rows, tf.Tensor, tf.Tensor]:
    """Chooses a token for every row and appends it, as `record_token`.

    Args:
        rows: Rows.
        token_ids: int32 [B, N], generated before; -1 is padding.
        logits: float32 [B, V], as the model returns them.
        uniform: float64 [B].
        invariants: LoopInvariants.
    Returns:
        As `record_token`.
    """
    processed = process_logits(logits, token_ids, rows.num_tokens, invariants)
    tokens = choose(processed, uniform, invariants.settings, invariants.end_ids[0])
    return record_token(rows, tokens, logits, invariants.limits, invariants.end_ids, invariants.pad_id)


def record_token(
    rows: Rows, tokens: tf.Tensor, logits: tf.Tensor, limits: tf.Tensor, end_ids: Sequence[int], pad_id: int
) -> tuple[Rows, tf.Tensor, tf.Tensor]:
    """Appends a token to every running row. Stopped rows stay as they are.

    A row stops at an end token or at its limit. `log_probability` grows by the log-softmax of the model's own logits,
    before any setting changes them.

    Args:
        rows: Rows.
        tokens: int32 [B].
        logits: float32 [B, V], as the model returns them.
        limits: int32 [B].
        end_ids: ints.
        pad_id: int.
    Returns:
        Rows; the new tokens int32 [B], -1 in rows that have none; their log-probabilities float32 [B], also of an end
        token, 0 in stopped rows.
    """
    chosen = tf.gather(logits, tokens[:, None], batch_dims=1)[:, 0]
    log_probability = tf.where(rows.is_running, chosen - tf.reduce_logsumexp(logits, axis=-1), 0.0)
    is_new = rows.is_running & ~is_end(tokens, end_ids)
    num_tokens = rows.num_tokens + tf.cast(is_new, tf.int32)
    rows = Rows(
        token_ids=tf.where(is_new, tokens, pad_id),
        is_running=is_new & (num_tokens < limits),
        has_ended=rows.has_ended | (rows.is_running & ~is_new),
        has_stopped=rows.has_stopped,
        num_tokens=num_tokens,
        log_probability=rows.log_probability + log_probability,
    )
    return rows, tf.where(is_new, tokens, -1), log_probability
