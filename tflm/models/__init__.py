"""Language models: LSTM and Transformer families; those that write also go step by step."""

from typing import Any

from tflm.errors import UserError
from tflm.models.head_model import HeadModel
from tflm.models.language_model import LanguageModel, State
from tflm.models.layer_groups import LayerGroup
from tflm.models.lstm_config import LSTMConfig
from tflm.models.lstm_encoder import LSTMEncoder, LSTMEncoderConfig
from tflm.models.lstm_encoder_decoder import LSTMEncoderDecoder, LSTMEncoderDecoderConfig
from tflm.models.lstm_language_model import LSTMLanguageModel
from tflm.models.ngram import Ngram, NgramClassifier, NgramConfig, WideAndDeep
from tflm.models.skip_gram import SkipGram, SkipGramConfig
from tflm.models.text_model import MODELS, ModelConfig, TextModel, register_model
from tflm.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tflm.models.transformer_encoder import TransformerEncoder, TransformerEncoderConfig
from tflm.models.transformer_encoder_decoder import (
    TransformerEncoderDecoder,
    TransformerEncoderDecoderConfig,
)

__all__ = [
    "MODELS",
    "HeadModel",
    "LSTMConfig",
    "LSTMEncoder",
    "LSTMEncoderConfig",
    "LSTMEncoderDecoder",
    "LSTMEncoderDecoderConfig",
    "LSTMLanguageModel",
    "LanguageModel",
    "LayerGroup",
    "ModelConfig",
    "Ngram",
    "NgramClassifier",
    "NgramConfig",
    "SkipGram",
    "SkipGramConfig",
    "State",
    "TextModel",
    "TransformerDecoder",
    "TransformerDecoderConfig",
    "TransformerEncoder",
    "TransformerEncoderConfig",
    "TransformerEncoderDecoder",
    "TransformerEncoderDecoderConfig",
    "WideAndDeep",
    "build_model",
    "model_class",
    "register_model",
]


def build_model(config: ModelConfig) -> TextModel:
    """The model that a config describes, with its variables made.

    Raises:
        UserError: its vocab_size is not set yet.
    """
    if config.vocab_size < 1:
        raise UserError(
            f"model.vocab_size is {config.vocab_size}. Set it to the vocab_size of the tokenizer."
        )
    cls: Any = model_class(config)
    model: TextModel = cls(config)
    model.build_variables()
    return model


def model_class(config: ModelConfig) -> type[TextModel]:
    """The class that a config belongs to; see `register_model`."""
    return MODELS.get(config.kind)
