"""A teacher's predictions as targets (Hinton et al., 2015, section 2)."""

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class SoftTargets:
    """A teacher, and how its predictions count next to the labels."""

    teacher: Any
    """The model, of the same task and with the same outputs."""
    temperature: float
    """Both models' logits are divided by it before the softmax."""
    alpha: float
    """Weight of the divergence from the teacher; that of the loss against the labels is 1 - alpha."""

    def mixed(
        self, losses: tf.Tensor, logits: tf.Tensor, teacher_logits: tf.Tensor, several: bool = False
    ) -> tf.Tensor:
        """(1 - alpha) losses + alpha T² KL(teacher || student), float32 [...].

        Args:
            losses: float32 [...], against the labels.
            logits: float32 [..., C], of the student.
            teacher_logits: float32 [..., C].
            several: bool, each of the C outputs is a probability of its own (sigmoid).
        """
        soft = divergence(logits, teacher_logits, self.temperature, several)
        return (1.0 - self.alpha) * losses + self.alpha * soft


def divergence(
    logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float, several: bool = False
) -> tf.Tensor:
    """T² KL(p || q), p and q the softmax of the teacher's and the student's logits divided by T. The factor keeps the
    size of the gradients the same for all temperatures. The teacher's logits have no gradient.

    >>> divergence([[0.0, 0.0]], [[0.0, 0.0]], temperature=2.0)
    [0.0]

    Args:
        logits: float32 [..., C].
        teacher_logits: float32 [..., C].
        temperature: float T.
        several: bool, the sum of the divergences of C probabilities (sigmoid) instead.
    Returns:
        float32 [...].
    """
    ours, theirs = logits / temperature, tf.stop_gradient(teacher_logits) / temperature
    if several:
        shares = tf.sigmoid(theirs)
        each = tf.nn.sigmoid_cross_entropy_with_logits(shares, ours)
        each -= tf.nn.sigmoid_cross_entropy_with_logits(shares, theirs)
    else:
        logs = tf.nn.log_softmax(theirs)
        each = tf.exp(logs) * (logs - tf.nn.log_softmax(ours))
    return temperature**2 * tf.reduce_sum(each, axis=-1)
