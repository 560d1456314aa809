"""The loss of a student: labels, a teacher's predictions, its hidden states, its attention.

distillation = Distillation(task, teacher, DistillationConfig(teacher="runs/big", temperature=2.0, alpha=0.5))
loss, weight = distillation.loss(student, batch)
"""

from typing import Any

import tensorflow as tf

from tflm.compression.config import DistillationConfig
from tflm.compression.transfer import attention_loss, hidden_loss, stacks_of
from tflm.layers import capturing
from tflm.tasks import Task
from tflm.tasks.soft_targets import SoftTargets

Batch = dict[str, tf.Tensor]


class Distillation:
    """(1 - alpha) hard + alpha T² KL(teacher || student) + hidden MSE + attention KL; see `DistillationConfig`.

    Args:
        task: of both models, with `has_soft_targets`.
        teacher: a model that the task made; it is not trained.
        config: weights and temperature.
    """

    def __init__(self, task: Task, teacher: Any, config: DistillationConfig) -> None:
        self._task, self._config = task, config
        self._soft = SoftTargets(teacher, config.temperature, config.alpha)
        teacher.trainable = False

    def loss(self, model: Any, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of the student in training as a sum, and its weight: float32 scalars, as `Task.loss`.

        The terms of hidden states and attention are means over the tokens of the batch; they are added to the mean, so
        to the sum as often as the weight says.
        """
        config, teacher = self._config, self._soft.teacher
        with capturing() as captured:
            loss, weight = self._task.distilled_loss(model, batch, self._soft)
        if not config.hidden and not config.attention:
            return loss, weight
        added = tf.constant(0.0)
        for ours, theirs in zip(stacks_of(model), stacks_of(teacher), strict=True):
            mask = tf.not_equal(batch[ours.ids_name], self._task.tokenizer.pad_id)
            if config.hidden:
                added += config.hidden * hidden_loss(captured, ours, theirs, mask)
            if config.attention:
                added += config.attention * attention_loss(captured, ours, theirs, mask)
        return loss + added * tf.stop_gradient(weight), weight
