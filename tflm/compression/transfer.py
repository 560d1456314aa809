"""What a student takes from inside its teacher: hidden states (TinyBERT; Jiao et al., 2020), attention and relations
between values (MiniLM; Wang et al., 2020)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.compression.config import DistillationConfig
from tflm.errors import UserError
from tflm.layers import Captured
from tflm.models import ModelConfig, model_class
from tflm.models.lstm_config import LSTMConfig
from tflm.models.transformer_config import TransformerConfig


class Stack(NamedTuple):
    """The layers of one side of a model, from the input up."""

    layers: Sequence[Any]
    attentions: Sequence[Any]
    """Self-attention of each layer; empty for LSTMs."""
    ids_name: str
    """What it reads of a batch."""
    num_heads: int
    """Of the queries."""


def stacks_of(model: Any) -> list[Stack]:
    """The encoder, the decoder or both of a model; of an LSTM its layers."""
    body = getattr(model, "body", model)
    if hasattr(body, "layers_in_order"):
        return [Stack(body.layers_in_order, (), "token_ids", 0)]
    has_encoder = getattr(body, "has_encoder", False)
    found = []
    for side in ("encoder", "decoder"):
        stack = getattr(body, side, None)
        if stack is not None and hasattr(stack, "blocks"):
            ids_name = "source_ids" if has_encoder and side == "encoder" else "token_ids"
            attentions = [block.attention for block in stack.blocks]
            found.append(Stack(stack.blocks, attentions, ids_name, body.config.num_heads))
    return found


def check_transfer(student: ModelConfig, teacher: ModelConfig, config: DistillationConfig) -> None:
    """
    Raises:
        UserError: hidden states or attention are to be compared, and sizes or families do not allow it.
    """
    if not config.hidden and not config.attention:
        return
    field = "hidden" if config.hidden else "attention"
    for side, model in (("student", student), ("teacher", teacher)):
        is_lstm = isinstance(model, LSTMConfig) and model_class(model).architecture != "encoder-decoder"
        if not isinstance(model, TransformerConfig) and not is_lstm:
            raise UserError(
                f"distillation.{field} compares the layers of Transformers, and of LSTMs without an encoder; the "
                f"{side} is a {model.kind}. Set it to 0."
            )
        if getattr(model, "shared_layers", False):
            raise UserError(
                f"distillation.{field} compares layers of their own, and the {side} has model.shared_layers. Set it "
                "to 0."
            )
    if getattr(student, "recompute", False):
        raise UserError(f"distillation.{field} needs model.recompute=false in the student.")
    if config.hidden and student.hidden_dim != teacher.hidden_dim:
        raise UserError(
            f"distillation.hidden needs the same width: model.hidden_dim is {student.hidden_dim} in the student and "
            f"{teacher.hidden_dim} in the teacher. distillation.attention has no such limit."
        )
    heads = [getattr(model, "num_heads", 0) for model in (student, teacher)]
    if config.attention and (0 in heads or heads[0] != heads[1]):
        raise UserError(
            "distillation.attention needs Transformers with the same number of heads; model.num_heads is "
            f"{heads[0] or 'absent'} in the student and {heads[1] or 'absent'} in the teacher."
        )


def hidden_loss(captured: Captured, ours: Stack, theirs: Stack, mask: tf.Tensor) -> tf.Tensor:
    """Mean over layers, tokens and features of the squared difference of the outputs. Layer m of M is compared with
    layer ceil(m N / M) of the teacher's N (section 3.1, the uniform mapping).

    Args:
        captured: of both models' forward passes.
        ours, theirs: the same side of student and teacher.
        mask: bool [B, T], True is real.
    Returns:
        float32 scalar.
    """
    total, count = tf.constant(0.0), len(ours.layers)
    for index, layer in enumerate(ours.layers):
        other = theirs.layers[-(-(index + 1) * len(theirs.layers) // count) - 1]
        states = tf.cast(captured.of(layer, "output"), tf.float32)
        targets = tf.stop_gradient(tf.cast(captured.of(other, "output"), tf.float32))
        squares = tf.reduce_mean(tf.math.squared_difference(states, targets), axis=-1)
        total += _mean_over(squares, mask)
    return total / count


def attention_loss(captured: Captured, ours: Stack, theirs: Stack, mask: tf.Tensor) -> tf.Tensor:
    """KL(teacher || student) of the last layer's attention, plus that of softmax(V Vᵀ / sqrt(d)) between the values of
    each head (sections 3.1 and 3.2); the mean over heads and tokens.

    Args:
        captured, ours, theirs, mask: as of `hidden_loss`.
    Returns:
        float32 scalar.
    """
    student, teacher = ours.attentions[-1], theirs.attentions[-1]
    num_heads = ours.num_heads
    attended, targets = (
        _by_head(tf.cast(captured.of(layer, "weights"), tf.float32), num_heads)
        for layer in (student, teacher)
    )
    loss = _divergence(attended, targets, mask)
    value, target = (tf.cast(captured.of(layer, "value"), tf.float32) for layer in (student, teacher))
    if value.shape[1] == target.shape[1]:  # as many heads of keys and values
        loss += _divergence(_relations(value, mask), _relations(target, mask), mask)
    return loss


def _by_head(weights: tf.Tensor, num_heads: int) -> tf.Tensor:
    """[B, H, K, S] of attention weights [B, G, K H / G, S]."""
    shape = tf.shape(weights)
    length = shape[1] * shape[2] // num_heads
    return tf.reshape(weights, tf.stack([shape[0], num_heads, length, shape[3]]))


def _relations(value: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """float32 [B, G, T, T], a distribution over the real tokens, of values [B, G, T, d]."""
    real = mask[:, : tf.shape(value)[2]]
    scores = tf.matmul(value, value, transpose_b=True) * value.shape[-1] ** -0.5
    return tf.nn.softmax(tf.where(real[:, None, None], scores, -1e9))


def _divergence(ours: tf.Tensor, theirs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean KL(theirs || ours) over heads and real tokens, of distributions [B, H, T, S]."""
    theirs = tf.stop_gradient(theirs)
    smallest = 1e-9
    logs = tf.math.log(tf.maximum(theirs, smallest)) - tf.math.log(tf.maximum(ours, smallest))
    return _mean_over(tf.reduce_mean(tf.reduce_sum(theirs * logs, axis=-1), axis=1), mask)


def _mean_over(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of float32 [B, T] over the real tokens; the mask bool [B, T'] may be longer: a decoder's last token is a
    target alone."""
    real = tf.cast(mask[:, : tf.shape(values)[1]], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * real), tf.reduce_sum(real))
