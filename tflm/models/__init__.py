"""Language models: LSTM and Transformer, each with a whole-sequence path and a step-by-step path."""

from tflm.errors import UserError
from tflm.models.language_model import LanguageModel, State
from tflm.models.lstm_language_model import LSTMConfig, LSTMLanguageModel
from tflm.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

ModelConfig = LSTMConfig | TransformerDecoderConfig

__all__ = [
    "LSTMConfig",
    "LSTMLanguageModel",
    "LanguageModel",
    "ModelConfig",
    "State",
    "TransformerDecoder",
    "TransformerDecoderConfig",
    "build_model",
]


def build_model(config: ModelConfig) -> LanguageModel:
    """The model that a config describes, with its variables made.

    Raises:
        UserError: its vocab_size is not set yet.
    """
    if config.vocab_size < 1:
        raise UserError(
            f"model.vocab_size is {config.vocab_size}. Set it to the vocab_size of the tokenizer."
        )
    classes = {LSTMConfig: LSTMLanguageModel, TransformerDecoderConfig: TransformerDecoder}
    model = classes[type(config)](config)
    model.build_variables()
    return model
