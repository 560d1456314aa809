"""Smaller models from trained ones: distillation, pruning of weights, removal of heads, units and layers."""

from tflm.compression.config import DistillationConfig, PruningConfig
from tflm.compression.distillation import Distillation
from tflm.compression.magnitude import MagnitudePruning

__all__ = ["Distillation", "DistillationConfig", "MagnitudePruning", "PruningConfig"]
