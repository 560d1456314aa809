"""From the configs of an experiment to its task."""

from collections.abc import Callable, Sequence

from tflm.errors import UserError
from tflm.models import LanguageModel, SkipGram, model_class
from tflm.presets.config import ExperimentConfig
from tflm.tasks import (
    Chat,
    ChatConfig,
    Classification,
    ClassificationConfig,
    Denoising,
    DenoisingConfig,
    LanguageModeling,
    LanguageModelingConfig,
    MaskedLanguageModeling,
    MaskedLanguageModelingConfig,
    Pairs,
    PairsConfig,
    QuestionAnswering,
    QuestionAnsweringConfig,
    SequenceToSequence,
    Similarity,
    SimilarityConfig,
    Tagging,
    TaggingConfig,
    Task,
    WordVectors,
    WordVectorsConfig,
)
from tflm.text import Tokenizer


def make_task(config: ExperimentConfig, tokenizer: Tokenizer, labels_fn: Callable[[], Sequence[str]]) -> Task:
    """The task, after checking that the model can do it.

    Args:
        config: of the experiment.
        tokenizer: its vocabulary.
        labels_fn: called where the task has labels; gives those of the training side.
    Raises:
        UserError: this kind of model is not for this task.
    """
    task, max_length, decoding = config.task, config.model.max_length, config.decoding
    model = model_class(config.model)
    writes, has_encoder = issubclass(model, LanguageModel), getattr(model, "has_encoder", False)
    match task:
        case ClassificationConfig():
            _require(config, not has_encoder, "an encoder or a decoder")
            return Classification(task, tokenizer, max_length, labels_fn())
        case PairsConfig():
            _require(config, writes, "a decoder or an encoder-decoder")
            pairs = SequenceToSequence if has_encoder else Pairs
            return pairs(task, tokenizer, max_length, decoding)
        case ChatConfig():
            _require(config, writes and not has_encoder, "a decoder")
            return Chat(task, tokenizer, max_length, decoding)
        case MaskedLanguageModelingConfig():
            _require(config, not writes and model is not SkipGram, "an encoder")
            return MaskedLanguageModeling(task, tokenizer, max_length)
        case DenoisingConfig():
            _require(config, has_encoder, "an encoder-decoder")
            return Denoising(task, tokenizer, max_length, decoding)
        case SimilarityConfig():
            _require(config, not has_encoder and model is not SkipGram, "an encoder or a decoder")
            return Similarity(task, tokenizer, max_length)
        case TaggingConfig():
            _require(config, not writes and model is not SkipGram, "an encoder")
            return Tagging(task, tokenizer, max_length, labels_fn())
        case QuestionAnsweringConfig():
            _require(config, not writes and model is not SkipGram, "an encoder")
            return QuestionAnswering(task, tokenizer, max_length)
        case WordVectorsConfig():
            _require(config, model is SkipGram, "a skip_gram model")
            return WordVectors(task, tokenizer, max_length)
        case LanguageModelingConfig():
            _require(config, writes and not has_encoder, "a decoder")
            if task.separate_documents and config.model.kind == "lstm":
                raise UserError(
                    "task.separate_documents is for Transformers: an LSTM reads a block from one end to the other. "
                    "Leave it false."
                )
            return LanguageModeling(task, tokenizer, max_length, decoding)


def _require(config: ExperimentConfig, fits: bool, wanted: str) -> None:
    if not fits:
        raise UserError(
            f"task.kind={config.task.kind!r} needs {wanted}; model.kind is {config.model.kind!r}. Choose a preset "
            "with another model or another task."
        )
