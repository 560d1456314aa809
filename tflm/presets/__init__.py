"""Named recipes. Each is a function, headed by its cost, its result and its command."""

from tflm.errors import UsageError
from tflm.presets.chat_demo import chat_demo
from tflm.presets.docstring_summarizer import docstring_summarizer
from tflm.presets.experiment import Experiment, ExperimentConfig, Preset
from tflm.presets.shakespeare_char import shakespeare_char
from tflm.presets.tiny import tiny_chat, tiny_decoder, tiny_lstm

PRESETS: dict[str, Preset] = {
    preset.__name__: preset
    for preset in (chat_demo, docstring_summarizer, shakespeare_char, tiny_chat, tiny_decoder, tiny_lstm)
}

__all__ = ["PRESETS", "Experiment", "ExperimentConfig", "load_preset"]


def load_preset(name: str) -> ExperimentConfig:
    """The config of a preset.

    Raises:
        UsageError: there is no preset of this name.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}. There are: {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]()
