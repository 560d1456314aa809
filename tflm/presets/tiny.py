"""Tiny models, for tests and first steps: seconds on a CPU. They learn from the Python sources of tflm itself."""

import os

import tflm
from tflm.data import DataConfig
from tflm.decoding import DecodingConfig
from tflm.models import LSTMConfig, TransformerDecoderConfig
from tflm.presets.experiment import ExperimentConfig
from tflm.tasks import PairsConfig
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig

_SOURCES = os.path.join(os.path.dirname(os.path.abspath(tflm.__file__)), "**", "*.py")
_TRAINING = TrainingConfig(
    num_steps=300,
    global_batch_size=16,
    peak_learning_rate=3e-3,
    warmup_steps=20,
    log_every=10,
    max_eval_batches=20,
)


def tiny_decoder() -> ExperimentConfig:
    """A Transformer over the bytes of Python code.

    Cost: 300 steps, about 15 seconds on two cores; 0.1M parameters.
    Result: text that looks like code from afar.
    Command: python -m apps.train --preset=tiny_decoder --workdir=runs/tiny_decoder
    """
    return ExperimentConfig(
        name="tiny_decoder",
        data=DataConfig(source="text", path=_SOURCES, document="file"),
        tokenizer=TokenizerConfig(kind="byte"),
        model=TransformerDecoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=128),
        training=_TRAINING,
        decoding=DecodingConfig(temperature=0.8, max_new_tokens=80),
    )


def tiny_lstm() -> ExperimentConfig:
    """An LSTM over the bytes of Python code.

    Cost: 300 steps, about 30 seconds on two cores; 0.1M parameters.
    Result: text that looks like code from afar.
    Command: python -m apps.train --preset=tiny_lstm --workdir=runs/tiny_lstm
    """
    return ExperimentConfig(
        name="tiny_lstm",
        data=DataConfig(source="text", path=_SOURCES, document="file"),
        tokenizer=TokenizerConfig(kind="byte"),
        model=LSTMConfig(num_layers=1, hidden_dim=96, max_length=64),
        training=_TRAINING,
        decoding=DecodingConfig(temperature=0.8, max_new_tokens=80),
    )


def tiny_chat() -> ExperimentConfig:
    """The demo's data on a model of seconds: English and Chinese questions and answers.

    Cost: 200 steps, about 20 seconds on two cores; 0.2M parameters.
    Result: answers of the right language and little sense.
    Command: python -m apps.train --preset=tiny_chat --workdir=runs/tiny_chat
    """
    return ExperimentConfig(
        name="tiny_chat",
        data=DataConfig(source="chatterbot", eval_fraction=0.05),
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=2000),
        task=PairsConfig(max_source_length=24, max_target_length=36),
        model=TransformerDecoderConfig(num_layers=2, hidden_dim=64, num_heads=4, max_length=64),
        training=TrainingConfig(
            num_steps=200, global_batch_size=32, peak_learning_rate=5e-3, warmup_steps=20, log_every=20
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=36),
    )
