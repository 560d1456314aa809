"""Everything that decides a result, in one frozen dataclass."""

import dataclasses
from collections.abc import Callable

from tflm.data import DataConfig
from tflm.decoding import DecodingConfig
from tflm.models import ModelConfig, TransformerDecoderConfig
from tflm.tasks import LanguageModelingConfig, TaskConfig
from tflm.text import TokenizerConfig
from tflm.training import FineTuningConfig, TrainingConfig


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a result."""

    name: str
    """The preset's name, or your own."""
    data: DataConfig
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    task: TaskConfig = dataclasses.field(default_factory=LanguageModelingConfig)
    model: ModelConfig = dataclasses.field(default_factory=TransformerDecoderConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    """What an export uses when a request sets nothing."""
    fine_tuning: FineTuningConfig = dataclasses.field(default_factory=FineTuningConfig)
    init_from: str = ""
    """A run's folder or an export: the body begins with its weights, and the vocabulary is its own. "" to begin
    from nothing."""
    word_vectors: str = ""
    """A file of word vectors, word2vec's text or binary format or GloVe's: tokens that are words in it begin with
    their vectors. "" for none."""


Preset = Callable[[], ExperimentConfig]
