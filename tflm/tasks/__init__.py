"""Tasks: features, loss, metrics, the data they need, and the signatures of their exports. Names are imported when they
are used; `register_task` makes a task known."""

from typing import TYPE_CHECKING

from tflm.lazy import lazy_exports

if TYPE_CHECKING:
    from tflm.tasks.chat import Chat, ChatConfig
    from tflm.tasks.classification import ClassificationConfig, TextClassification, find_labels
    from tflm.tasks.columns import Columns
    from tflm.tasks.denoising import Denoising, DenoisingConfig
    from tflm.tasks.generative_task import GenerativeTask
    from tflm.tasks.language_modeling import LanguageModeling, LanguageModelingConfig
    from tflm.tasks.masked_language_modeling import MaskedLanguageModeling, MaskedLanguageModelingConfig
    from tflm.tasks.pairs import Pairs, PairsConfig
    from tflm.tasks.question_answering import QuestionAnswering, QuestionAnsweringConfig
    from tflm.tasks.registry import TASK_RECIPES, TASKS, register_task
    from tflm.tasks.sequence_to_sequence import SequenceToSequence
    from tflm.tasks.similarity import Similarity, SimilarityConfig
    from tflm.tasks.tagging import Tagging, TaggingConfig, find_span_labels
    from tflm.tasks.task import (
        Task,
        TaskConfig,
        TaskInputs,
        TaskReport,
        build_task,
        task_class,
    )
    from tflm.tasks.task_recipes import num_steps, small_encoder, task_recipe
    from tflm.tasks.text_task import TextTask
    from tflm.tasks.word_vectors import WordVectors, WordVectorsConfig

__getattr__, __all__ = lazy_exports(__name__, __file__)
