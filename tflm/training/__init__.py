"""The training loop, its optimizers, schedules, checkpoints and logs."""

from tflm.training.checkpoint import Checkpoints
from tflm.training.config import TrainingConfig
from tflm.training.fine_tuning import FineTuningConfig
from tflm.training.logs import read_log
from tflm.training.strategies import STRATEGIES, Cluster, make_strategy
from tflm.training.trainer import TRAINING_LOCK, Trainer, training_lock

__all__ = [
    "STRATEGIES",
    "TRAINING_LOCK",
    "Checkpoints",
    "Cluster",
    "FineTuningConfig",
    "Trainer",
    "TrainingConfig",
    "make_strategy",
    "read_log",
    "training_lock",
]
