"""What the loop knows of each row, and how one more token changes it."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tflm.decoding.choose import choose
from tflm.decoding.repetition_penalty import add_seen, prompt_tokens


class Rows(NamedTuple):
    """The state of every row between two steps."""

    token_ids: tf.Tensor
    """int32 [B]: the newest token, which the model reads next. pad_id in a row that has stopped."""
    is_running: tf.Tensor
    """bool [B]."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens produced, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: their sum, with the end token's."""
    seen: tf.Tensor
    """bool [B, V]: tokens of the prompt and of the text so far. Kept up only where a penalty asks for it."""


class Rules(NamedTuple):
    """What stays the same from step to step."""

    settings: Mapping[str, tf.Tensor]
    limits: tf.Tensor
    """int32 [B]: tokens that a row may produce."""
    suppressed: tf.Tensor
    """bool [V]: tokens that are never chosen."""
    end_id: int
    pad_id: int


def start_rows(prompts: tf.RaggedTensor, rules: Rules) -> Rows:
    """Rows that have produced nothing; those with a limit of 0 have stopped.

    Args:
        prompts: int32 [B, (P)].
        rules: Rules.
    Returns:
        Rows.
    """
    zeros = tf.zeros_like(rules.limits)
    return Rows(
        token_ids=zeros + rules.pad_id,
        is_running=rules.limits > 0,
        num_tokens=zeros,
        log_probability=tf.zeros_like(zeros, tf.float32),
        seen=prompt_tokens(prompts, tf.size(rules.suppressed)),
    )


def append_token(rows: Rows, logits: tf.Tensor, uniform: tf.Tensor, rules: Rules) -> Rows:
    """Chooses a token for every row and writes down what follows from it. Stopped rows stay as they are.

    A row stops at the end token or when it reaches its limit. `log_probability` grows by the log-softmax of
    the logits as the model gave them, not as the settings changed them.

    Args:
        rows: Rows.
        logits: float32 [B, V].
        uniform: float64 [B].
        rules: Rules.
    Returns:
        Rows.
    """
    tokens = choose(
        logits,
        uniform,
        rules.settings,
        num_tokens=rows.num_tokens,
        seen=rows.seen,
        suppressed=rules.suppressed,
        end_id=rules.end_id,
    )
    chosen = tf.gather(logits, tokens[:, None], batch_dims=1)[:, 0]
    log_probability = chosen - tf.reduce_logsumexp(logits, axis=-1)
    is_produced = rows.is_running & (tokens != rules.end_id)
    num_tokens = rows.num_tokens + tf.cast(is_produced, tf.int32)
    return Rows(
        token_ids=tf.where(is_produced, tokens, rules.pad_id),
        is_running=is_produced & (num_tokens < rules.limits),
        num_tokens=num_tokens,
        log_probability=rows.log_probability + tf.where(rows.is_running, log_probability, 0.0),
        seen=tf.cond(
            tf.reduce_any(rules.settings["repetition_penalty"] != 1.0),
            lambda: add_seen(rows.seen, tokens),
            lambda: tf.identity(rows.seen),
        ),
    )
