"""The signature `score`: log-probabilities of given texts."""

import tensorflow as tf

from tflm.models import LanguageModel
from tflm.tasks.features.rows import is_longer, keep_first
from tflm.tasks.losses import LARGE_VOCABULARY, losses_in_slices
from tflm.tasks.signatures.writer import Signature, signature
from tflm.tasks.text_task import TextTask, padded


def score_signature(task: TextTask, model: LanguageModel) -> Signature:
    """`task.score_inputs` to what `score_texts` returns."""
    return signature([*task.score_inputs], lambda inputs: score_texts(task, model, inputs))


def score_texts(task: TextTask, model: LanguageModel, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Log-probabilities of texts.

    Args:
        inputs: string [B] each, as `task.score_inputs` names them.
    Returns:
        Over the tokens after the given ones: `log_probability` float32 [B] and `num_tokens` int32 [B]; `token_ids`
        int32 [B, T] without the first; `token_log_probabilities` float32 [B, T], 0 for given tokens and padding; and
        `truncated` bool [B], True where part of a text was not read and is not in these numbers.
    """
    (rows, truncated), num_given = task.score_rows(inputs)
    truncated |= is_longer(rows, task.max_length + 1)
    rows = keep_first(rows, task.max_length + 1)
    # One place of padding more, so that a batch of empty rows still has a column to read.
    pad_id = task.tokenizer.pad_id
    token_ids = tf.pad(rows.to_tensor(pad_id), [[0, 0], [0, 2]], constant_values=pad_id)
    token_ids = token_ids[:, : task.max_length + 1]
    sources = task.sources(inputs["text"])
    features = {}
    if sources is not None:
        features, truncated = {"source_ids": padded(sources.rows, pad_id)}, truncated | sources.truncated
    losses = _losses(model, token_ids, features)
    places = tf.range(1, tf.shape(token_ids)[1])[None]
    lengths = tf.cast(rows.row_lengths(), tf.int32)
    counted = (places >= num_given[:, None]) & (places < lengths[:, None])
    each = -tf.where(counted, losses, 0.0)
    return {
        "log_probability": tf.reduce_sum(each, axis=1),
        "num_tokens": tf.math.count_nonzero(counted, axis=1, dtype=tf.int32),
        "token_ids": token_ids[:, 1:],
        "token_log_probabilities": each,
        "truncated": truncated,
    }


def _losses(model: LanguageModel, token_ids: tf.Tensor, features: dict[str, tf.Tensor]) -> tf.Tensor:
    """-ln p of each token int32 [B, T + 1] after the first: float32 [B, T]."""
    if model.config.vocab_size < LARGE_VOCABULARY:
        logits = model(token_ids[:, :-1], training=False, **features)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], logits)
    states = model.hidden_states(token_ids[:, :-1], training=False, **features)
    targets = token_ids[:, 1:]
    losses = losses_in_slices(model, tf.reshape(states, [-1, states.shape[-1]]), tf.reshape(targets, [-1]))
    return tf.reshape(losses, tf.shape(targets))
