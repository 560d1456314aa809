"""Everything that decides a result, in one frozen dataclass."""

import dataclasses

from tflm.compression import DistillationConfig, PruningConfig
from tflm.config import option
from tflm.data import DataConfig
from tflm.generation import DecodingConfig
from tflm.models import ModelConfig, TransformerDecoderConfig
from tflm.tasks import LanguageModelingConfig, TaskConfig
from tflm.text import TokenizerConfig
from tflm.training import FineTuningConfig, TrainingConfig


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a result."""

    name: str
    """The recipe's name, or your own."""
    data: DataConfig
    """The data set: source, columns and splits."""
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """The tokenizer that is trained on the training split; with `init_from` that of the other model is used."""
    task: TaskConfig = dataclasses.field(default_factory=LanguageModelingConfig)
    """What is learned: features, loss, metrics and signatures."""
    model: ModelConfig = dataclasses.field(default_factory=TransformerDecoderConfig)
    """The model family and its sizes."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Hyperparameters of the training loop."""
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    """What an export uses when a request sets nothing."""
    fine_tuning: FineTuningConfig = dataclasses.field(default_factory=FineTuningConfig)
    """Frozen parts, layer-wise learning rates and LoRA."""
    init_from: str = ""
    """Folder of a run or of an export whose weights initialize the body, and whose vocabulary is used; "" for random
    weights."""
    word_vectors: str = ""
    """File of word vectors, in word2vec's text or binary format or GloVe's, that initialize the embeddings of the
    tokens that are words in it; "" for none."""
    distillation: DistillationConfig = option(DistillationConfig())
    """The teacher of a run that `tflm compress --distill` makes."""
    pruning: PruningConfig = option(PruningConfig())
    """What is pruned in a run that `tflm compress --prune=0.5` makes."""
