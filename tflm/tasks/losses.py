"""Cross entropy of tokens, as a sum with a weight."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tflm.layers import any_shapes, compiled
from tflm.models import TextModel
from tflm.tasks.soft_targets import SoftTargets

LARGE_VOCABULARY = 1 << 16
"""From this size on, logits that need no gradient are computed for some tokens at a time."""
_SLICE = 1 << 25
"""Their number at a time: 128 MiB in float32."""
_TRAINING_SLICE = 1 << 23
"""The number of logits at a time in training: 32 MiB in float32."""


def token_cross_entropy(
    model: TextModel,
    hidden_states: tf.Tensor,
    targets: tf.Tensor,
    loss_weights: tf.Tensor,
    compact: bool,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    training: bool = False,
    soft: SoftTargets | None = None,
    teacher_states: tf.Tensor | None = None,
    other_states: tf.Tensor | None = None,
    r_drop: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Weighted sum of -ln p(target), and the sum of the weights. Over replicas and micro-batches both add up.

    Args:
        model: gives the logits.
        hidden_states: float [B, T, D].
        targets: int32 [B, T].
        loss_weights: float32 [B, T].
        compact: compute logits only where the weight is not 0. Cheaper when few targets count (a short answer
            to a long question); the number of rows is then not known when the graph is built.
        label_smoothing: how much of the target's weight is spread evenly over the vocabulary (Szegedy et al.,
            2016, section 7).
        z_loss: this times the square of the logarithm of the softmax's denominator is added for each target, which
            keeps logits small (Chowdhery et al., 2022, section 5).
        training: compute loss and gradient together, for some tokens at a time: the logits of a batch never exist as a
            whole. Without, those of a large vocabulary are computed in slices, too, and have no gradient.
        soft: a teacher, whose predictions are targets, too; in training.
        teacher_states: float [B, T, D'], its hidden states.
        other_states: float [B, T, D], of a second pass under other dropout masks, in training.
        r_drop: this times the divergence between the predictions of both passes is added to their mean loss.
    Returns:
        Two float32 scalars.
    """
    width = hidden_states.shape[-1]
    states, targets = tf.reshape(hidden_states, [-1, width]), tf.reshape(targets, [-1])
    if other_states is not None:  # side by side: both have gradients
        states = tf.concat([states, tf.reshape(other_states, [-1, width])], axis=1)
    weights = tf.reshape(loss_weights, [-1])
    rest = [targets, weights]
    if soft is not None and teacher_states is not None:
        rest.append(tf.stop_gradient(tf.reshape(teacher_states, [-1, teacher_states.shape[-1]])))
    if compact:
        counted = tf.where(weights > 0)[:, 0]
        states, *rest = (tf.gather(part, counted) for part in (states, *rest))
        targets, weights = rest[:2]
    if not training and model.config.vocab_size >= LARGE_VOCABULARY:
        losses = losses_in_slices(model, states, targets)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    def token_losses(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if label_smoothing:
            even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
            losses = (1.0 - label_smoothing) * losses + label_smoothing * even
        if z_loss:
            losses += z_loss * tf.square(tf.reduce_logsumexp(logits, axis=-1))
        return losses

    def logits_of(states: tf.Tensor) -> list[tf.Tensor]:
        return [model.logits(each) for each in tf.split(states, states.shape[-1] // width, axis=1)]

    def loss_of(
        logits: list[tf.Tensor], targets: tf.Tensor, weights: tf.Tensor, *soft_logits: tf.Tensor
    ) -> tf.Tensor:
        first, *again = logits
        losses = token_losses(first, targets)
        for other in again:
            losses = 0.5 * (losses + token_losses(other, targets)) + r_drop * divergence(first, other)
        if soft is not None:
            losses = soft.mixed(losses, first, *soft_logits)
        return tf.reduce_sum(losses * weights)

    def constants_of(targets: tf.Tensor, weights: tf.Tensor, *others: tf.Tensor) -> list[tf.Tensor]:
        return [targets, weights, *([] if soft is None else map(soft.teacher.logits, others))]

    if training:
        size = max(1, _TRAINING_SLICE // model.config.vocab_size)
        trained = [variable.value for variable in model.trainable_variables]
        with any_shapes() if compact else contextlib.nullcontext():
            loss = _with_gradient(logits_of, loss_of, constants_of, trained, states, rest, size)
        return loss, tf.reduce_sum(weights)
    return loss_of(logits_of(states), *constants_of(*rest)), tf.reduce_sum(weights)


def divergence(logits: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Mean of the Kullback-Leibler divergences in both directions (R-Drop: Liang et al., 2021, section 2), in nats.

    Args:
        logits, other: float32 [N, V].
    Returns:
        float32 [N].
    """
    shares, logs = tf.nn.softmax, tf.nn.log_softmax
    return 0.5 * tf.reduce_sum((shares(logits) - shares(other)) * (logs(logits) - logs(other)), axis=-1)


def _with_gradient(
    logits_of: Callable[[tf.Tensor], list[tf.Tensor]],
    loss_of: Callable[..., tf.Tensor],
    constants_of: Callable[..., list[tf.Tensor]],
    trained: list[Any],
    states: tf.Tensor,
    rest: Sequence[tf.Tensor],
    size: int,
) -> tf.Tensor:
    """A sum of losses over tokens. Its gradient is computed with it, slice by slice, so that nothing between hidden
    states and loss is kept for the backward pass. Loss and gradient of the logits are one chain of operations (see
    `tflm.layers.fusion`).

    Args:
        logits_of: maps hidden states [n, D] to tensors of logits [n, V].
        loss_of: maps logits and constants to a scalar.
        constants_of: maps n rows of each of `rest` to the constants of `loss_of`.
        trained: variables that may have a gradient.
        states: float [N, D].
        rest: tensors [N, ...] without a gradient: targets, weights, hidden states of a teacher. A row of zeros adds
            nothing to the sum.
        size: int, the greatest number of tokens in a slice.
    Returns:
        float32 scalar.
    """

    def value_and_gradient(logits: list[tf.Tensor], constants: list[tf.Tensor]) -> tuple[tf.Tensor, Any]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = loss_of(logits, *constants)
        return loss, tape.gradient(loss, logits)

    @tf.custom_gradient
    def summed(states: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:  # of one token, to see what the logits read
            logits_of(states[:1])
        read = {variable.ref() for variable in tape.watched_variables()}
        own = [variable for variable in trained if variable.ref() in read]

        def of_slice(part: tf.Tensor, rest: Sequence[tf.Tensor]) -> list[tf.Tensor]:
            """The loss and the gradients of the states and of `own`."""
            with tf.GradientTape() as tape:
                tape.watch(part)
                logits = logits_of(part)
            loss, d_logits = compiled(value_and_gradient, logits, constants_of(*rest))
            sources, zero = [part, *own], tf.UnconnectedGradients.ZERO
            found = tape.gradient(logits, sources, output_gradients=d_logits, unconnected_gradients=zero)
            return [loss, *map(tf.convert_to_tensor, found)]

        num_tokens = states.shape[0]
        if num_tokens is not None and num_tokens <= size:
            loss, d_states, *sums = of_slice(states, rest)
        else:
            zeros = [tf.zeros(variable.shape, variable.dtype) for variable in own]
            loss, d_states, *sums = _sum_over_slices(of_slice, states, rest, size, zeros)

        def gradient(upstream: tf.Tensor, variables: Any = ()) -> Any:
            of_own = {each.ref(): upstream * total for each, total in zip(own, sums, strict=True)}
            scaled = [of_own.get(each.ref()) for each in variables]  # None of frozen ones
            return tf.cast(upstream, d_states.dtype) * d_states, scaled

        return loss, gradient

    return summed(states)


def _sum_over_slices(
    of_slice: Callable[..., list[tf.Tensor]],
    states: tf.Tensor,
    rest: Sequence[tf.Tensor],
    size: int,
    zeros: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """The sums of what `of_slice` gives, and its second result joined to [N, D].

    Args:
        of_slice: maps n rows of the states and of each of `rest` to a scalar, a tensor [n, D] and tensors as `zeros`.
        states: float [N, D].
        rest: tensors [N, ...].
        size: int, the greatest n.
        zeros: where the sums begin.
    """
    # Slices of one size, filled up with tokens of weight 0: XLA knows no others.
    num_tokens = tf.shape(states)[0] if states.shape[0] is None else states.shape[0]
    num_slices = -(-num_tokens // size)
    if states.shape[0] is None:
        num_slices = tf.maximum(1, num_slices)
    length = -(-num_tokens // num_slices)
    padding = num_slices * length - num_tokens

    def in_slices(tensor: tf.Tensor) -> tf.Tensor:
        """[num_slices, length, ...]."""
        filled = tf.pad(tensor, [[0, padding]] + [[0, 0]] * (len(tensor.shape) - 1))
        own = tensor.shape[1:] if tensor.shape[1:].is_fully_defined() else tf.unstack(tf.shape(tensor)[1:])
        return tf.reshape(filled, [num_slices, length, *own])

    slices = [in_slices(each) for each in (states, *rest)]

    def add(index: tf.Tensor, loss: tf.Tensor, parts: tf.TensorArray, *sums: tf.Tensor) -> tuple[Any, ...]:
        part, *others = (each[index] for each in slices)
        more, d_part, *found = of_slice(part, others)
        added = [total + each for total, each in zip(sums, found, strict=True)]
        return (index + 1, loss + more, parts.write(index, d_part), *added)

    begin = (
        tf.constant(0),
        tf.constant(0.0),
        tf.TensorArray(states.dtype, num_slices),
        *zeros,
    )
    _, loss, parts, *sums = tf.while_loop(
        lambda index, *_: index < num_slices, add, begin, parallel_iterations=1
    )
    return [loss, tf.reshape(parts.stack(), [-1, states.shape[-1]])[:num_tokens], *sums]


def losses_in_slices(model: TextModel, hidden_states: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """-ln p(target) of each token, with the logits of some tokens at a time.

    Args:
        model: gives the logits.
        hidden_states: float [N, D].
        targets: int32 [N].
    Returns:
        float32 [N].
    """
    count, num_tokens = max(1, _SLICE // model.config.vocab_size), tf.size(targets)

    def extend(first: tf.Tensor, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = slice(first, first + count)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(
            targets[part], model.logits(hidden_states[part])
        )
        return first + count, tf.concat([losses, each], axis=0)

    return tf.while_loop(
        lambda first, losses: first < num_tokens,
        extend,
        (tf.constant(0), tf.zeros([0])),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )[1]
