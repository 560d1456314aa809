"""The training loop, its optimizers, schedules, checkpoints and logs."""

from tflm.training.checkpoint import Checkpoints
from tflm.training.config import TrainingConfig
from tflm.training.fine_tuning import FineTuningConfig
from tflm.training.logs import read_log
from tflm.training.observers import Profile, TrainingObserver
from tflm.training.strategies import STRATEGIES, Cluster, make_strategy
from tflm.training.trackers import TRACKERS, make_tracker
from tflm.training.trainer import TRAINING_LOCK, Trainer, training_lock

__all__ = [
    "STRATEGIES",
    "TRACKERS",
    "TRAINING_LOCK",
    "Checkpoints",
    "Cluster",
    "FineTuningConfig",
    "Profile",
    "Trainer",
    "TrainingConfig",
    "TrainingObserver",
    "make_strategy",
    "make_tracker",
    "read_log",
    "training_lock",
]
