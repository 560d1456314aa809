"""What a model is for: features, loss, metrics, and the signatures of its export."""

from tflm.tasks.chat import Chat, ChatConfig
from tflm.tasks.classification import Classification, ClassificationConfig, find_labels
from tflm.tasks.denoising import Denoising, DenoisingConfig
from tflm.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
from tflm.tasks.masked_language_modeling import MaskedLanguageModeling, MaskedLanguageModelingConfig
from tflm.tasks.pairs import Pairs, PairsConfig
from tflm.tasks.question_answering import QuestionAnswering, QuestionAnsweringConfig
from tflm.tasks.sequence_to_sequence import SequenceToSequence
from tflm.tasks.similarity import Similarity, SimilarityConfig
from tflm.tasks.tagging import Tagging, TaggingConfig, find_span_labels
from tflm.tasks.task import Task
from tflm.tasks.text_task import TextTask
from tflm.tasks.word_vectors import WordVectors, WordVectorsConfig

TaskConfig = (
    LanguageModelingConfig
    | PairsConfig
    | ClassificationConfig
    | WordVectorsConfig
    | MaskedLanguageModelingConfig
    | DenoisingConfig
    | SimilarityConfig
    | TaggingConfig
    | QuestionAnsweringConfig
    | ChatConfig
)

__all__ = [
    "Chat",
    "ChatConfig",
    "Classification",
    "ClassificationConfig",
    "Denoising",
    "DenoisingConfig",
    "LanguageModeling",
    "LanguageModelingConfig",
    "MaskedLanguageModeling",
    "MaskedLanguageModelingConfig",
    "Pairs",
    "PairsConfig",
    "QuestionAnswering",
    "QuestionAnsweringConfig",
    "SequenceToSequence",
    "Similarity",
    "SimilarityConfig",
    "Tagging",
    "TaggingConfig",
    "Task",
    "TaskConfig",
    "TextTask",
    "WordVectors",
    "WordVectorsConfig",
    "find_labels",
    "find_span_labels",
]
