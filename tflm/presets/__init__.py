"""Named recipes. Each is a function, headed by its cost, its result and its command."""

from tflm.errors import UsageError
from tflm.presets.automatic import automatic
from tflm.presets.chat_demo import chat_demo
from tflm.presets.config import ExperimentConfig, Preset
from tflm.presets.docstring_summarizer import docstring_summarizer
from tflm.presets.experiment import Experiment
from tflm.presets.multi30k import multi30k_lstm_small, multi30k_small
from tflm.presets.questions import docstring_questions_small
from tflm.presets.sentiment import (
    shopping_pretraining,
    shopping_sentiment_lstm,
    shopping_sentiment_transformer,
    sst2_lstm_small,
    sst2_pretraining,
    sst2_transformer_small,
)
from tflm.presets.shakespeare_char import shakespeare_char
from tflm.presets.small import (
    bert_small,
    docstring_topics_small,
    gpt_small,
    lstm_small,
    similarity_small,
    t5_small,
    tagging_small,
    word_vectors_small,
)
from tflm.presets.tiny import (
    tiny_bert,
    tiny_bert_classifier,
    tiny_chat,
    tiny_decoder,
    tiny_gpt,
    tiny_lstm,
    tiny_lstm_classifier,
    tiny_lstm_seq2seq,
    tiny_pairs,
    tiny_question_answering,
    tiny_similarity,
    tiny_t5,
    tiny_tagger,
    tiny_transformer,
    tiny_word_vectors,
)

PRESETS: dict[str, Preset] = {
    preset.__name__: preset
    for preset in (
        bert_small,
        chat_demo,
        docstring_questions_small,
        docstring_summarizer,
        docstring_topics_small,
        gpt_small,
        lstm_small,
        multi30k_lstm_small,
        multi30k_small,
        shakespeare_char,
        shopping_pretraining,
        shopping_sentiment_lstm,
        shopping_sentiment_transformer,
        similarity_small,
        sst2_lstm_small,
        sst2_pretraining,
        sst2_transformer_small,
        t5_small,
        tagging_small,
        tiny_bert,
        tiny_bert_classifier,
        tiny_chat,
        tiny_decoder,
        tiny_gpt,
        tiny_lstm,
        tiny_lstm_classifier,
        tiny_lstm_seq2seq,
        tiny_pairs,
        tiny_question_answering,
        tiny_similarity,
        tiny_t5,
        tiny_tagger,
        tiny_transformer,
        tiny_word_vectors,
        word_vectors_small,
    )
}

__all__ = ["PRESETS", "Experiment", "ExperimentConfig", "automatic", "load_preset"]


def load_preset(name: str) -> ExperimentConfig:
    """The config of a preset.

    Raises:
        UsageError: there is no preset of this name.
    """
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r}. There are: {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]()
