"""A small recipe for each task: sizes near those of the small recipes, the tokenizer by the writing of the data, the
steps by its amount."""

import dataclasses
import json
from collections.abc import Sequence

from tflm.data import DataConfig
from tflm.decoding import DecodingConfig
from tflm.evaluation.scripts import written_in_characters
from tflm.models import (
    LSTMEncoderConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
)
from tflm.presets.config import ExperimentConfig
from tflm.tasks import (
    ChatConfig,
    ClassificationConfig,
    LanguageModelingConfig,
    PairsConfig,
    QuestionAnsweringConfig,
    SimilarityConfig,
    TaggingConfig,
)
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig

Example = dict[str, str]

_BATCH = 64
_MOST = 0.9  # of the texts
_ENCODER = TransformerEncoderConfig(num_layers=2, hidden_dim=128, num_heads=4, max_length=128, dropout=0.2)


def task_recipe(
    task: str, data: DataConfig, sample: Sequence[Example], num_examples: int
) -> ExperimentConfig:
    """The recipe for a task on some data.

    Args:
        task: one of `automatic.TASKS`.
        data: where the examples are.
        sample: some of them; their writing decides the tokenizer.
        num_examples: how many there are.
    """
    training = TrainingConfig(
        num_steps=_steps(num_examples, epochs=6, least=300, most=3000),
        global_batch_size=_BATCH,
        warmup_steps=50,
        schedule="linear",
        final_learning_rate=0.0,
        log_every=20,
    )
    decoding = DecodingConfig(temperature=0.0, max_new_tokens=62)
    tokenizer = tokenizer_for(sample)
    config = ExperimentConfig(task, data, tokenizer=tokenizer, training=training, decoding=decoding)
    match task:
        case "classification":
            return _classification(config)
        case "similarity":
            return dataclasses.replace(config, task=SimilarityConfig(), model=_ENCODER)
        case "tagging":
            return _tagging(config)
        case "question_answering":
            return _question_answering(config, num_examples)
        case "chat":
            return _chat(config, num_examples)
        case "language_modeling":
            return _language_modeling(config)
    return _pairs(config, num_examples)


def tokenizer_for(examples: Sequence[Example]) -> TokenizerConfig:
    """Characters where every part of nearly all examples is written in them, as Chinese is; else SentencePiece.

    A character says about as much as a word, and on data of this size models of single characters overfit less and
    meet fewer unknown words than those of words (Li et al., 2019, "Is Word Segmentation Necessary for Deep Learning of
    Chinese Representations?"). A part in words, such as the target of a translation into English, would become several
    times as long.
    """
    parts: dict[str, list[bool]] = {}
    for example in examples:
        for name, text in example.items():
            if name == "messages":
                text = " ".join(message["content"] for message in json.loads(text))
            if name not in ("label", "spans", "answers"):
                parts.setdefault(name, []).append(written_in_characters([text]))
    by_character = bool(parts) and all(sum(each) >= _MOST * len(each) for each in parts.values())
    return TokenizerConfig(
        kind="character" if by_character else "sentencepiece", vocab_size=8000, soft_vocab_limit=True
    )


def _classification(config: ExperimentConfig) -> ExperimentConfig:
    model = LSTMEncoderConfig(num_layers=1, max_length=256, dropout=0.4, token_dropout=0.2)
    text_pair = bool(config.data.text_pair_column)
    task = ClassificationConfig(text_pair=text_pair, pooling="max", dropout=0.4)
    return dataclasses.replace(config, task=task, model=model)


def _tagging(config: ExperimentConfig) -> ExperimentConfig:
    """By characters, so that a span may begin and end anywhere."""
    tokenizer = TokenizerConfig(kind="character", vocab_size=4000)
    training = dataclasses.replace(config.training, optimizer="muon", peak_learning_rate=1e-2)
    return dataclasses.replace(
        config, task=TaggingConfig(), model=_ENCODER, tokenizer=tokenizer, training=training
    )


def _question_answering(config: ExperimentConfig, num_examples: int) -> ExperimentConfig:
    """By pieces of words, with every Chinese character by itself, so that an answer begins and ends with one."""
    training = dataclasses.replace(
        config.training,
        num_steps=_steps(num_examples, epochs=6, least=500, most=5000),
        optimizer="muon",
        peak_learning_rate=1e-2,
    )
    return dataclasses.replace(
        config,
        tokenizer=TokenizerConfig(kind="wordpiece", vocab_size=8000),
        task=QuestionAnsweringConfig(other_windows=0.2),
        model=dataclasses.replace(_ENCODER, num_layers=3, max_length=192, dropout=0.1),
        training=training,
    )


def _chat(config: ExperimentConfig, num_examples: int) -> ExperimentConfig:
    """Of single questions and answers, the model also sees some after one another."""
    training = dataclasses.replace(
        config.training,
        num_steps=_steps(num_examples, epochs=30, least=500, most=5000),
        optimizer="muon",
        peak_learning_rate=4e-3,
    )
    return dataclasses.replace(
        config,
        tokenizer=dataclasses.replace(config.tokenizer, special_tokens=("system", "user", "assistant")),
        task=ChatConfig(max_history=0 if config.data.messages_column else 3),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=6, max_length=192, dropout=0.1
        ),
        training=training,
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=80),
    )


def _language_modeling(config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(
        config,
        task=LanguageModelingConfig(),
        model=TransformerDecoderConfig(
            num_layers=4, hidden_dim=192, num_heads=4, max_length=128, qk_norm=True
        ),
        training=dataclasses.replace(
            config.training,
            num_steps=1500,
            global_batch_size=32,
            optimizer="muon",
            peak_learning_rate=1.5e-2,
        ),
        decoding=DecodingConfig(temperature=0.7, top_p=0.9, max_new_tokens=80),
    )


def _pairs(config: ExperimentConfig, num_examples: int) -> ExperimentConfig:
    """Translation, summarization, and any other text for a text."""
    length = 256 if config.name == "summarization" else 62
    task = PairsConfig(
        max_source_length=length,
        max_target_length=62,
        label_smoothing=0.1,
        measure="bleu" if config.name == "translation" else "rouge",
    )
    model = TransformerEncoderDecoderConfig(
        num_layers=3,
        num_decoder_layers=2,
        hidden_dim=160,
        num_heads=5,
        intermediate_dim=480,
        max_length=length + 2,
        activation="relu_squared",
        qk_norm=True,
        dropout=0.2,
    )
    training = dataclasses.replace(
        config.training,
        num_steps=_steps(num_examples, epochs=15, least=500, most=7000),
        optimizer="muon",
        peak_learning_rate=4e-3,
    )
    return dataclasses.replace(config, task=task, model=model, training=training)


def _steps(num_examples: int, epochs: int, least: int, most: int) -> int:
    """So many epochs, within limits, in whole hundreds."""
    return min(most, max(least, -(-num_examples * epochs // (_BATCH * 100)) * 100))
