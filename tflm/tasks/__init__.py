"""What a model is for: features, loss, metrics, and the signatures of its export."""

from tflm.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
from tflm.tasks.pairs import Pairs, PairsConfig
from tflm.tasks.text_task import TextTask

TaskConfig = LanguageModelingConfig | PairsConfig

__all__ = ["LanguageModeling", "LanguageModelingConfig", "Pairs", "PairsConfig", "TaskConfig", "TextTask"]
