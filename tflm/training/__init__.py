"""The training loop, its optimizers, schedules, checkpoints and logs."""

from tflm.training.checkpoint import Checkpoints
from tflm.training.config import TrainingConfig
from tflm.training.fine_tuning import FineTuningConfig
from tflm.training.logs import read_log
from tflm.training.strategies import STRATEGIES, make_strategy
from tflm.training.trainer import Trainer

__all__ = [
    "STRATEGIES",
    "Checkpoints",
    "FineTuningConfig",
    "Trainer",
    "TrainingConfig",
    "make_strategy",
    "read_log",
]
