"""Cross entropy of tokens, as a sum with a weight."""

import tensorflow as tf

from tflm.models import TextModel

LARGE_VOCABULARY = 1 << 16
"""From this size on, logits that need no gradient are computed for some tokens at a time."""
_SLICE = 1 << 25
"""Their number at a time: 128 MiB in float32."""


def token_cross_entropy(
    model: TextModel,
    hidden_states: tf.Tensor,
    targets: tf.Tensor,
    loss_weights: tf.Tensor,
    compact: bool,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    in_slices: bool = False,
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
        in_slices: with a large vocabulary, compute the logits of some tokens at a time. They are most of the memory
            then. For evaluation: without `label_smoothing` and `z_loss`, and gradients would keep all of them.
    Returns:
        Two float32 scalars.
    """
    width = hidden_states.shape[-1]
    states, targets = tf.reshape(hidden_states, [-1, width]), tf.reshape(targets, [-1])
    weights = tf.reshape(loss_weights, [-1])
    if compact:
        counted = tf.where(weights > 0)[:, 0]
        states, targets, weights = (tf.gather(part, counted) for part in (states, targets, weights))
    if in_slices and model.config.vocab_size >= LARGE_VOCABULARY:
        losses = losses_in_slices(model, states, targets)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)
    logits = model.logits(states)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * even
    if z_loss:
        losses += z_loss * tf.square(tf.reduce_logsumexp(logits, axis=-1))
    return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)


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
