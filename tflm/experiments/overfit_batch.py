"""A diagnosis before a long training: whether the model can learn a single batch by heart."""

import dataclasses
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.data import Batches
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.run import Run
from tflm.training import Trainer, read_log

LEARNT = 0.1
"""The share of the first loss that the last one is below if the batch was learnt."""
_REGULARIZERS = ("dropout", "attention_dropout", "token_dropout", "label_smoothing", "z_loss", "max_history")


class OverfitResult(NamedTuple):
    """The losses of one batch that was trained on again and again."""

    first: float
    last: float
    num_steps: int

    @property
    def is_learnt(self) -> bool:
        """Whether the loss fell to a tenth."""
        return self.last < LEARNT * self.first


class _OneBatch(Batches):
    """The first batch of others, endlessly."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(batches.batch_size, batches.seed, training=True)
        self._batches = batches

    @property
    def batches_per_epoch(self) -> int:
        """One."""
        return 1

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """That of the others."""
        return self._batches.element_spec

    def _batch(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        raise NotImplementedError("the whole dataset is one batch")

    def dataset(self, start_batch: int = 0) -> tf.data.Dataset:
        """The first batch, again and again."""
        del start_batch
        return self._batches.dataset().take(1).cache().repeat()


def overfit_batch(
    run: Run, num_steps: int = 200, note_fn: Callable[[str], None] = lambda text: None
) -> OverfitResult:
    """Trains a new model on the first training batch alone, without dropout and other regularization, in a temporary
    folder. A model, labels and a loss that fit each other bring the loss near 0.

    Args:
        run: with its data; its checkpoints are not touched.
        num_steps: int, with a constant learning rate after a tenth of them.
        note_fn: called with lines for the user.
    """
    config = without_regularization(run.config)
    training = dataclasses.replace(
        config.training,
        num_steps=num_steps,
        warmup_steps=num_steps // 10,
        schedule="constant",
        weight_decay=0.0,
        l2=0.0,
        ema_decay=0.0,
        keep_best="",
        early_stopping_patience=0,
        log_every=1,
        checkpoint_every=num_steps,
        keep_every=0,
    )
    plain = type(run)(config, run.workdir)
    batches = _OneBatch(plain.batches("train", training=True))
    with tempfile.TemporaryDirectory(prefix="tflm-overfit-batch-") as folder:
        trainer = Trainer(plain.make_model, plain.task, training, folder, None, config.fine_tuning)
        trainer.train(batches, None, note_fn=note_fn)
        losses = [record["loss"] for record in read_log(folder) if "loss" in record]
    return OverfitResult(losses[0], losses[-1], num_steps)


def without_regularization(config: ExperimentConfig) -> ExperimentConfig:
    """A config without dropout, label smoothing and the like in its model and its task."""
    return dataclasses.replace(config, model=_plain(config.model), task=_plain(config.task))


def _plain(part: Any) -> Any:
    names = {field.name for field in dataclasses.fields(part)}
    zeros: dict[str, Any] = {name: type(getattr(part, name))(0) for name in _REGULARIZERS if name in names}
    return dataclasses.replace(part, **zeros)
